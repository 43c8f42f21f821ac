// SPDX-License-Identifier: Apache-2.0
// What the scheduler plans, step by step, by hand. Random schedules: simulator_test.cpp.
#include "hydrofoil/engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

namespace hydrofoil::engine::scheduler_test {
namespace {

class Schedule {
 public:
  Schedule(const SchedulerOptions& options, size_t pages) : pool(pages), scheduler(options, pool) {}

  Sequence& add(size_t tokens, int priority = 0) {
    Sequence& sequence = sequences.emplace_back();
    sequence.id = sequences.size();
    sequence.tokens.assign(tokens, static_cast<int32_t>(sequence.id));  // nothing in common
    sequence.priority = priority;
    scheduler.add(&sequence);
    return sequence;
  }
  // "id:tokens .."; then each that has none left gets one.
  std::string step() {
    std::string result;
    for (const auto& [sequence, tokens] : scheduler.plan()) {
      result += std::string(result.empty() ? "" : " ") + std::to_string(sequence->id) + ":" +
                std::to_string(tokens);
      if (sequence->left() == 0) sequence->tokens.push_back(7);
    }
    return result;
  }

  PagePool pool;
  Scheduler scheduler;
  std::deque<Sequence> sequences;
};

TEST(Scheduler, FusesDecodesWithPiecesOfPrompts) {
  Schedule s({.step_tokens = 16, .sequences = 4}, 20);
  s.add(10);
  s.add(20);
  s.add(40);
  EXPECT_EQ(s.step(), "1:10 2:6");
  EXPECT_EQ(s.step(), "1:1 2:14 3:1");
  EXPECT_EQ(s.step(), "1:1 2:1 3:14");
  EXPECT_EQ(s.step(), "1:1 2:1 3:14");
  EXPECT_EQ(s.step(), "1:1 2:1 3:11");
  EXPECT_EQ(s.step(), "1:1 2:1 3:1");
}

TEST(Scheduler, ShortPromptsPassLongOnes) {
  Schedule s({.step_tokens = 16, .sequences = 4}, 40);
  s.add(200);
  s.add(20);
  s.add(30);
  EXPECT_EQ(s.step(), "2:12 1:4");
  EXPECT_EQ(s.step(), "2:8 3:4 1:4");
  EXPECT_EQ(s.step(), "2:1 3:11 1:4");
}

TEST(Scheduler, LongPromptsOfHigherPriorityPassShortOnes) {
  Schedule s({.step_tokens = 16, .sequences = 4}, 40);
  s.add(20);
  s.add(40, 1);
  EXPECT_EQ(s.step(), "2:16");
  EXPECT_EQ(s.step(), "2:16");
  EXPECT_EQ(s.step(), "2:8 1:8");
}

TEST(Scheduler, EqualPromptsAreComputedOnce) {
  Schedule s({.step_tokens = 32, .sequences = 4}, 40);
  for (int i = 0; i < 3; ++i) s.add(100).tokens.assign(100, 5);
  EXPECT_EQ(s.step(), "1:32");
  EXPECT_EQ(s.step(), "1:32");
  EXPECT_EQ(s.step(), "1:32");
  EXPECT_EQ(s.step(), "1:4 2:4 3:4");
  EXPECT_EQ(s.pool.statistics().shared_tokens, 2u * 96);
}

TEST(Scheduler, PrefillFirstRunsWholePromptsAlone) {
  Schedule s({.step_tokens = 64, .sequences = 4, .policy = Policy::kPrefillFirst}, 20);
  s.add(10);
  EXPECT_EQ(s.step(), "1:10");
  s.add(40);
  s.add(30);
  EXPECT_EQ(s.step(), "2:40");  // 30 more would be cut
  EXPECT_EQ(s.step(), "3:30");
  EXPECT_EQ(s.step(), "1:1 2:1 3:1");
}

TEST(Scheduler, HoldsTheNumberOfSequences) {
  Schedule s({.step_tokens = 16, .sequences = 2}, 20);
  Sequence& first = s.add(3);
  s.add(4);
  s.add(5);
  EXPECT_EQ(s.step(), "1:3 2:4");
  EXPECT_EQ(s.step(), "1:1 2:1");
  s.scheduler.remove(&first);
  EXPECT_EQ(s.step(), "2:1 3:5");
}

TEST(Scheduler, HigherPrioritiesGoFirstButNotForEver) {
  Schedule s({.step_tokens = 16, .sequences = 1}, 20);
  s.add(4, -1);
  Sequence& high = s.add(5, 1);
  EXPECT_EQ(s.step(), "2:5");
  s.scheduler.remove(&high);
  // A low one has waited for 2 x kPatience steps when these come.
  Schedule late({.step_tokens = 16, .sequences = 1}, 20);
  Sequence& running = late.add(1);
  for (int64_t i = 0; i < 10; ++i) late.step();
  late.add(4, -1);
  for (int64_t i = 0; i < Scheduler::kPatience; ++i) late.scheduler.plan();
  late.add(5, 0);
  late.add(6, 1);
  late.scheduler.remove(&running);
  EXPECT_EQ(late.step(), "4:6");
  late.scheduler.remove(&late.sequences.back());
  EXPECT_EQ(late.step(), "2:4");
}

TEST(Scheduler, TheLastLosesItsPagesAndComesBack) {
  Schedule s({.step_tokens = 40, .sequences = 4}, 4);
  Sequence& first = s.add(15);
  s.add(15);
  EXPECT_EQ(s.step(), "1:15 2:15");
  EXPECT_EQ(s.step(), "1:1 2:1");
  EXPECT_EQ(s.step(), "1:1 2:1");  // a second page each: the pool is empty
  for (int i = 0; i < 15; ++i) EXPECT_EQ(s.step(), "1:1 2:1");
  EXPECT_EQ(s.step(), "1:1");  // the third page of 1 is one of 2's
  EXPECT_EQ(s.scheduler.statistics().preempted, 1u);
  EXPECT_EQ(s.scheduler.waiting(), 1u);
  s.scheduler.remove(&first);
  // All but its last token, which the same pages might still hold: one was taken.
  EXPECT_EQ(s.step(), "2:17");
}

TEST(Scheduler, APromptWithoutRoomIsPassedButNotForEver) {
  Schedule s({.step_tokens = 64, .sequences = 8}, 8);
  Sequence& long_one = s.add(64);
  EXPECT_EQ(s.step(), "1:64");
  s.add(100);  // 7 pages
  for (int i = 0; i < Scheduler::kMostPassed; ++i) {
    Sequence& small = s.add(5);
    const std::string step = s.step();
    EXPECT_THAT(step, testing::HasSubstr(std::to_string(small.id) + ":5"));
    s.scheduler.remove(&small);
  }
  Sequence& small = s.add(5);
  EXPECT_THAT(s.step(), testing::Not(testing::HasSubstr(":5")));
  s.scheduler.remove(&long_one);
  EXPECT_EQ(s.step(), "2:64");
  s.scheduler.remove(&small);
}

TEST(Scheduler, SequencesOfOneStepShareABeginning) {
  Schedule s({.step_tokens = 64, .sequences = 8}, 20);
  s.add(40);
  s.sequences.emplace_back(s.sequences.front()).id = 2;
  Sequence& second = s.sequences.back();
  second.table = {};
  s.scheduler.add(&second);
  EXPECT_EQ(s.step(), "1:40 2:8");
  EXPECT_EQ(s.pool.statistics().shared_tokens, 32u);
}

TEST(Scheduler, GivesUpWaitingAndRunningSequences) {
  Schedule s({.step_tokens = 16, .sequences = 1}, 20);
  Sequence& a = s.add(20);
  Sequence& b = s.add(20);
  s.step();
  s.scheduler.remove(&b);
  s.scheduler.remove(&a);
  EXPECT_EQ(s.step(), "");
  EXPECT_EQ(s.pool.available(), 20u);
}

}  // namespace
}  // namespace hydrofoil::engine::scheduler_test
