// SPDX-License-Identifier: Apache-2.0
// Random loads in caches that are too small: nothing is lost, nobody starves, nothing stands still.
#include "hydrofoil/engine/simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "hydrofoil/core/random.h"

namespace hydrofoil::engine::simulator_test {
namespace {

CostCurve flat_then_line() {
  return CostCurve({{1, 0.01}, {32, 0.01}, {64, 0.02}});
}

class Draws {
 public:
  explicit Draws(uint64_t seed) : random_(seed, RandomUse::kTest) {}
  size_t below(size_t bound) { return random_.below(bound, position_++); }

 private:
  Philox random_;
  uint64_t position_ = 0;
};

// One of three beginnings, cut somewhere, and an end of its own.
LoadRequest draw_request(Draws& draws, size_t most_tokens, size_t number) {
  LoadRequest request;
  const size_t total = 2 + draws.below(most_tokens - 1), prompt = 1 + draws.below(total - 1);
  const auto beginning = static_cast<int32_t>(draws.below(3));
  const size_t common = draws.below(prompt + 1);
  for (size_t i = 0; i < prompt; ++i)
    request.prompt.push_back(i < common ? beginning : static_cast<int32_t>(10 + number));
  request.tokens = static_cast<int64_t>(total - prompt);
  request.priority = static_cast<int>(draws.below(3)) - 1;
  return request;
}

class RandomRun {
 public:
  explicit RandomRun(uint64_t seed)
      : draws_(seed),
        options_{.step_tokens = 0,
                 .sequences = 1 + draws_.below(8),
                 .policy = draws_.below(8) == 0 ? Policy::kPrefillFirst : Policy::kSplitFuse},
        pages_(3 + draws_.below(30)),
        requests_(10 + draws_.below(40)) {
    options_.step_tokens = options_.sequences + draws_.below(60);
  }

  void run() {
    Simulator simulator(options_, pages_, flat_then_line());
    while (next_ < requests_ || simulator.busy()) {
      while (next_ < requests_ && (draws_.below(3) == 0 || !simulator.busy())) {
        left_[next_] = draw_request(draws_, pages_ * kPageTokens, next_);
        simulator.add(next_, left_[next_]);
        ++next_;
      }
      if (draws_.below(60) == 0) {
        const size_t number = draws_.below(next_);
        simulator.cancel(number);
        left_.erase(number);
      }
      if (simulator.busy()) step(simulator);
      if (testing::Test::HasFatalFailure()) return;
    }
    EXPECT_TRUE(left_.empty());  // each got all its tokens
    EXPECT_EQ(simulator.pool().available(), pages_);
  }

 private:
  void step(Simulator& simulator) {
    for (const size_t number : simulator.step()) {
      ASSERT_TRUE(left_.contains(number));
      if (--left_[number].tokens == 0) left_.erase(number);
    }
    simulator.check();
    ASSERT_FALSE(simulator.last_step().empty());
    ASSERT_LT(++steps_, 100000);
    size_t total = 0;
    std::set<size_t> numbers;
    for (const auto& [number, tokens] : simulator.last_step()) {
      ASSERT_GT(tokens, 0u);
      total += tokens;
      numbers.insert(number);
    }
    ASSERT_EQ(numbers.size(), simulator.last_step().size());
    ASSERT_LE(total, options_.step_tokens);
    ASSERT_LE(numbers.size(), options_.sequences);
  }

  Draws draws_;
  SchedulerOptions options_;
  size_t pages_, requests_, next_ = 0;
  int steps_ = 0;
  std::map<size_t, LoadRequest> left_;
};

TEST(Simulator, RandomLoadsEndAndLoseNothing) {
  for (uint64_t seed = 0; seed < SEEDS; ++seed) {
    SCOPED_TRACE(seed);
    RandomRun(seed).run();
    if (HasFatalFailure()) return;
  }
}

// Small requests of a higher priority never stop coming, and there is hardly room for the long one.
TEST(Simulator, ALongRequestOfLowPriorityDoesNotStarve) {
  Simulator simulator({.step_tokens = 32, .sequences = 4}, 20, flat_then_line());
  simulator.add(0, {.prompt = std::vector<int32_t>(250, 1), .tokens = 40, .priority = -1});
  size_t next = 1;
  bool ended = false;
  for (int64_t step = 0; step < 2 * Scheduler::kPatience + 1000 && !ended; ++step) {
    while (simulator.scheduler().waiting() < 12)
      simulator.add(next++, {.prompt = std::vector<int32_t>(30, 2), .tokens = 20, .priority = 1}),
          simulator.step();
    size_t told = 0;
    for (const size_t number : simulator.step()) told += number == 0;
    ended = told > 0;
  }
  EXPECT_TRUE(ended);
}

// Ten texts are being written when prompts of 4000 tokens arrive.
std::vector<Timeline> with_long_prompts(const SchedulerOptions& options) {
  Load load;
  for (int i = 0; i < 10; ++i)
    load.requests.push_back({.prompt = std::vector<int32_t>(32, i), .tokens = 200});
  for (int i = 0; i < 3; ++i)
    load.requests.push_back(
        {.prompt = std::vector<int32_t>(4000, 20 + i), .tokens = 10, .arrival = 1.0 + i});
  Simulator simulator(options, 2000, flat_then_line());
  return drive(load, simulator);
}

TEST(Simulator, SplitPromptsDoNotStopOthers) {
  const auto longest = [](const std::vector<Timeline>& timelines) {
    double seconds = 0;
    for (size_t text = 0; text < 10; ++text)
      for (size_t i = 1; i < timelines[text].tokens.size(); ++i)
        seconds = std::max(seconds, timelines[text].tokens[i] - timelines[text].tokens[i - 1]);
    return seconds;
  };
  EXPECT_NEAR(longest(with_long_prompts({.step_tokens = 32, .sequences = 16})), 0.01, 1e-9);
  EXPECT_GT(longest(with_long_prompts(
                {.step_tokens = 4096, .sequences = 16, .policy = Policy::kPrefillFirst})),
            1.0);
}

TEST(Simulator, ClientsAskAgainWhenTheyAreAnswered) {
  Load load{.requests = {}, .clients = 2};
  for (int i = 0; i < 6; ++i)
    load.requests.push_back({.prompt = std::vector<int32_t>(8, i), .tokens = 3});
  Simulator simulator({.step_tokens = 32, .sequences = 16}, 20, flat_then_line());
  const auto timelines = drive(load, simulator);
  for (size_t i = 2; i < 6; ++i) EXPECT_EQ(timelines[i].arrival, timelines[i - 2].tokens.back());
  EXPECT_NEAR(simulator.seconds(), 0.09, 1e-9);  // three rounds of three steps
}

TEST(Simulator, EqualLoadsGiveEqualTimes) {
  const auto times = [] {
    Draws draws(5);
    Load load;
    for (size_t i = 0; i < 60; ++i) {
      load.requests.push_back(draw_request(draws, 20 * kPageTokens, i));
      load.requests.back().arrival = 0.03 * static_cast<double>(i);
    }
    Simulator simulator({.step_tokens = 40, .sequences = 8}, 20, flat_then_line());
    std::vector<double> all;
    for (const auto& timeline : drive(load, simulator))
      all.insert(all.end(), timeline.tokens.begin(), timeline.tokens.end());
    return all;
  };
  EXPECT_EQ(times(), times());
}

}  // namespace
}  // namespace hydrofoil::engine::simulator_test
