// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/parallel/stages.h"
#include "hydrofoil/parallel/timeline.h"

namespace hydrofoil::parallel::schedule_test {
namespace {

const std::map<Operation, std::string> kCodes = {{Operation::kLoad, "l"},
                                                 {Operation::kForward, "f"},
                                                 {Operation::kBackward, "b"},
                                                 {Operation::kSendActivation, "sa"},
                                                 {Operation::kReceiveActivation, "ra"},
                                                 {Operation::kSendGradient, "sg"},
                                                 {Operation::kReceiveGradient, "rg"},
                                                 {Operation::kReduceTiedGradients, "t"},
                                                 {Operation::kReduceGradients, "g"},
                                                 {Operation::kStep, "o"}};

std::string text_of(const StageSchedule& stage) {
  std::string text;
  for (size_t slot = 0; slot < stage.slots.size(); ++slot) {
    if (slot > 0) text += "|";
    for (const Instruction& instruction : stage.slots[slot]) {
      if (!text.empty() && text.back() != '|') text += " ";
      text += kCodes.at(instruction.operation);
      if (instruction.buffer >= 0) text += std::to_string(instruction.buffer);
    }
  }
  return text;
}

// DeepSpeed 0.19.8's TrainSchedule for 1 to 8 micro-batches on 1 to 4 stages, instruction for
// instruction.
TEST(Schedule, OneForwardOneBackwardIsDeepSpeedsTable) {
  std::ifstream file(GOLDEN_FOLDER "/deepspeed_1f1b.txt");
  int cases = 0;
  for (std::string micro, stages, stage, buffers, slots;
       std::getline(file, micro, ';') && std::getline(file, stages, ';') &&
       std::getline(file, stage, ';') && std::getline(file, buffers, ';') &&
       std::getline(file, slots);
       ++cases) {
    const auto schedule =
        one_f_one_b({.micro_batches = std::stoi(micro), .stages = std::stoi(stages)});
    const StageSchedule& ours = schedule.stage(std::stoi(stage));
    EXPECT_EQ(text_of(ours), slots)
        << micro << " micro-batches, stage " << stage << " of " << stages;
    EXPECT_THAT(ours.buffers, testing::ElementsAre(std::stoi(buffers)));
  }
  EXPECT_EQ(cases, 80);
}

using Maker = std::function<Schedule(const PipelineShape&)>;
struct Kind {
  const char* name;
  Maker make;
  int chunks = 1;
  int tasks = 2;  // a micro-batch and chunk
};
const std::vector<Kind> kKinds = {{"gpipe", gpipe},
                                  {"one_f_one_b", one_f_one_b},
                                  {"interleaved", interleaved, 2},
                                  {"interleaved3", interleaved, 3},
                                  {"zero_bubble", zero_bubble, 1, 3},
                                  {"inference", inference, 1, 1},
                                  {"inference2", inference, 2, 1}};

class AnySchedule : public testing::TestWithParam<Kind> {
 protected:
  void for_all(const std::function<void(const PipelineShape&, const Schedule&)>& check) {
    for (int stages = 1; stages <= 5; ++stages)
      for (int micro = 1; micro <= 12; ++micro) {
        if (GetParam().chunks > 1 && micro % stages != 0) continue;
        const PipelineShape shape{
            .micro_batches = micro, .stages = stages, .chunks = GetParam().chunks};
        SCOPED_TRACE(std::to_string(micro) + " micro-batches, " + std::to_string(stages) +
                     " stages");
        check(shape, GetParam().make(shape));
      }
  }
};

TEST_P(AnySchedule, DoesEveryTaskOnce) {
  for_all([](const PipelineShape& shape, const Schedule& schedule) {
    std::set<Task> seen;
    size_t count = 0;
    for (int stage = 0; stage < shape.stages; ++stage)
      for (const auto& task : schedule.stage(stage).tasks)
        if (task) {
          EXPECT_EQ(task->link % shape.stages, stage);
          seen.insert(*task);
          ++count;
        }
    EXPECT_EQ(count, seen.size());
    EXPECT_EQ(static_cast<int>(count), GetParam().tasks * shape.links() * shape.micro_batches);
  });
}

// Transfers that wait for their other end, as unbuffered sends do: whoever follows the lists comes
// to the end.
TEST_P(AnySchedule, DoesNotLockUpWithTransfersThatWait) {
  for_all([](const PipelineShape& shape, const Schedule& schedule) {
    std::vector<std::vector<Instruction>> lists(static_cast<size_t>(shape.stages));
    for (int stage = 0; stage < shape.stages; ++stage)
      for (const Slot& slot : schedule.stage(stage).slots)
        for (const Instruction& i : slot) lists[static_cast<size_t>(stage)].push_back(i);
    const auto link = [&](int stage, const Instruction& i) {
      return i.chunk * shape.stages + stage;
    };
    const auto meets = [&](int stage, const Instruction& i, int other, const Instruction& j) {
      const auto pair = std::pair(i.operation, j.operation);
      const int step =
          pair == std::pair(Operation::kSendActivation, Operation::kReceiveActivation) ? 1
          : pair == std::pair(Operation::kSendGradient, Operation::kReceiveGradient)   ? -1
                                                                                       : 0;
      return step != 0 && link(other, j) == link(stage, i) + step && i.micro_batch == j.micro_batch;
    };
    const auto is_transfer = [](const Instruction& i) {
      return i.operation >= Operation::kSendActivation &&
             i.operation <= Operation::kReceiveGradient;
    };
    std::vector<size_t> at(lists.size());
    for (bool moved = true; std::exchange(moved, false);) {
      for (size_t s = 0; s < lists.size(); ++s) {
        while (at[s] < lists[s].size() && !is_transfer(lists[s][at[s]])) ++at[s], moved = true;
        for (size_t t = 0; t < lists.size(); ++t) {
          if (at[s] == lists[s].size() || at[t] == lists[t].size()) continue;
          if (!meets(static_cast<int>(s), lists[s][at[s]], static_cast<int>(t), lists[t][at[t]]))
            continue;
          ++at[s], ++at[t], moved = true;
        }
      }
    }
    for (size_t s = 0; s < lists.size(); ++s) EXPECT_EQ(at[s], lists[s].size()) << "stage " << s;
  });
}

// What arrives in a buffer must not overwrite what another micro-batch still needs. (A gradient
// leaves a slot later, before anything arrives.)
TEST_P(AnySchedule, NeverOverwritesABufferInUse) {
  for_all([](const PipelineShape& shape, const Schedule& schedule) {
    for (int stage = 0; stage < shape.stages; ++stage) {
      const auto last = [&](int chunk) {
        const bool ends_forward =
            shape.stages == 1 || (stage + 1 == shape.stages && chunk + 1 == shape.chunks);
        return GetParam().tasks == 3   ? Operation::kBackwardWeights
               : GetParam().tasks == 2 ? Operation::kBackward
               : ends_forward          ? Operation::kForward
                                       : Operation::kSendActivation;
      };
      std::map<std::pair<int, int>, int> held;  // (chunk, buffer) -> micro-batch
      for (const Slot& slot : schedule.stage(stage).slots)
        for (const Instruction& i : slot) {
          if (i.buffer < 0 || i.operation == Operation::kSendGradient) continue;
          ASSERT_LT(i.buffer, schedule.stage(stage).buffers[static_cast<size_t>(i.chunk)]);
          const auto place = held.emplace(std::pair(i.chunk, i.buffer), i.micro_batch).first;
          EXPECT_EQ(place->second, i.micro_batch);
          if (i.operation == last(i.chunk)) held.erase(place);
        }
      EXPECT_TRUE(held.empty());
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Kinds, AnySchedule, testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

TaskTimes unit_times(double forward, double backward, double weights = 0) {
  return {.seconds = [=](const Task& task) {
    return task.action == Action::kForward    ? forward
           : task.action == Action::kBackward ? backward
                                              : weights;
  }};
}

TEST(Schedule, BubblesAreThoseOfTheFormula) {
  for (int stages = 1; stages <= 6; ++stages) {
    for (int micro = stages; micro <= 24; micro += stages) {
      const double s = stages, m = micro;
      const PipelineShape shape{.micro_batches = micro, .stages = stages};
      const double usual = (s - 1) / (m + s - 1);
      EXPECT_NEAR(play(gpipe(shape), unit_times(1, 2)).bubble(), usual, 1e-12);
      EXPECT_NEAR(play(one_f_one_b(shape), unit_times(1, 2)).bubble(), usual, 1e-12);
      for (const int chunks : {2, 4}) {
        const PipelineShape parts{.micro_batches = micro, .stages = stages, .chunks = chunks};
        EXPECT_NEAR(play(interleaved(parts), unit_times(1, 2)).bubble(),
                    (s - 1) / (chunks * m + s - 1), 1e-12)
            << micro << " " << stages << " " << chunks;
      }
      // arXiv 2401.10241, table 1: (s - 1) (forward + backward - weights) of idle time a stage.
      const auto zero = play(zero_bubble(shape), unit_times(1, 1, 1));
      EXPECT_NEAR(zero.seconds - 3 * m, s - 1, 1e-12) << micro << " " << stages;
    }
  }
}

TEST(Schedule, KeepsNoMoreMicroBatchesThanItMust) {
  for (int stages = 1; stages <= 6; ++stages)
    for (int micro = 1; micro <= 12; ++micro) {
      const PipelineShape shape{.micro_batches = micro, .stages = stages};
      const auto usual = play(one_f_one_b(shape), unit_times(1, 2)).most_kept;
      const auto zero = play(zero_bubble(shape), unit_times(1, 1, 1)).most_kept;
      const auto all = play(gpipe(shape), unit_times(1, 2)).most_kept;
      for (int stage = 0; stage < stages; ++stage) {
        const auto at = static_cast<size_t>(stage);
        EXPECT_EQ(usual[at], std::min(stages - stage, micro));
        EXPECT_LE(zero[at], std::min(stages, micro));
        EXPECT_EQ(all[at], micro);
      }
    }
}

TEST(Schedule, TasksOfAStageAreThoseOfItsSlots) {
  using enum ScheduleKind;
  for (const auto kind : {kOneForwardOneBackward, kGPipe, kInterleaved, kZeroBubble})
    for (int stages = 1; stages <= 5; ++stages)
      for (int micro = stages; micro <= 15; micro += stages) {
        const PipelineChoice choice{stages, kind, kind == kInterleaved ? 3 : 1};
        const Schedule schedule = schedule_of(choice, micro);
        for (int stage = 0; stage < stages; ++stage) {
          std::vector<Task> want;
          for (const auto& task : schedule.stage(stage).tasks)
            if (task) want.push_back(*task);
          EXPECT_EQ(tasks_of(choice, micro, stage), want) << stage << " of " << stages;
        }
      }
}

TEST(Schedule, InterleavingNeedsAMultipleOfTheStages) {
  try {
    interleaved({.micro_batches = 6, .stages = 4, .chunks = 2});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig);
    EXPECT_THAT(error.what(), testing::HasSubstr("needs a multiple of 4 micro-batches, not 6"));
  }
}

TEST(Schedule, RefusesATaskBeforeItsInput) {
  const PipelineShape shape{.micro_batches = 1, .stages = 2};
  const Task first{Action::kForward, 0, 0}, second{Action::kForward, 0, 1};
  EXPECT_THROW(Schedule(shape, {{first}, {second}}), std::logic_error);
}

TEST(Timeline, TransfersDelayTheNextStageOnly) {
  const auto schedule = inference({.micro_batches = 3, .stages = 2});
  auto times = unit_times(1, 0);
  times.transfer = [](const Task&) { return 0.25; };
  const auto timeline = play(schedule, times);
  EXPECT_DOUBLE_EQ(timeline.stages[0].back().end, 3);
  EXPECT_DOUBLE_EQ(timeline.stages[1].front().begin, 1.25);
  EXPECT_DOUBLE_EQ(timeline.seconds, 4.25);
}

// Two stages of four copies, two forwards of a second each. Copy 2 takes twice as long: copies 2
// and 3 exchange something in every task and wait for it; copies 0 and 1 do not.
TEST(Timeline, ASlowRankHoldsUpWhoExchangesWithIt) {
  const PipelineShape shape{.micro_batches = 2, .stages = 2};
  const std::vector<std::vector<Task>> lists = {
      {{Action::kForward, 0, 0}, {Action::kForward, 1, 0}},
      {{Action::kForward, 0, 1}, {Action::kForward, 1, 1}}};
  const auto ends = [&](double slow) {
    std::vector<std::vector<double>> last(2, std::vector<double>(4));
    play(shape, lists,
         {.copies = 4,
          .seconds = [&](const Task& task, int copy,
                         double) { return copy == 2 && task.link == 0 ? slow : 1; },
          .team = [](const Task&) { return 2; }},
         [&](const Task& task, int copy, double, double end) {
           last[static_cast<size_t>(task.link)][static_cast<size_t>(copy)] = end;
         });
    return last;
  };
  EXPECT_EQ(ends(2), (std::vector<std::vector<double>>{{2, 2, 4, 4}, {3, 3, 5, 5}}));
  const double never = std::numeric_limits<double>::infinity();
  EXPECT_EQ(ends(never),
            (std::vector<std::vector<double>>{{2, 2, never, never}, {3, 3, never, never}}));
}

}  // namespace
}  // namespace hydrofoil::parallel::schedule_test
