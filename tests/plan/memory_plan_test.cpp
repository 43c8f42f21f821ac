// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "specs.h"

namespace hydrofoil::plan::memory_plan_test {
namespace {

// Sizes that divide by nothing.
Model odd_model() {
  return model_of({{"a", {17, 97}}, {"b", {1000003, 1, 64}}, {"c", {65}}, {"d", {4096, 999}}});
}

// An oracle of its own: places element after element, as the layout is described.
uint64_t padded(const Unit& unit, int ranks) {
  uint64_t end = 0;
  for (const size_t n : unit.numels) {
    while (end % 64 != 0) ++end;
    end += n;
  }
  while (end % (256 * static_cast<uint64_t>(ranks)) != 0) ++end;
  return end;
}
uint64_t pages(uint64_t bytes) {
  return (bytes + 4095) / 4096 * 4096;
}

struct Sums {
  uint64_t padded = 0, paged = 0, neighbours = 0;
};
Sums sums(const Model& model, int ranks) {
  Sums s;
  uint64_t before = 0;
  for (const auto& unit : model.units) {
    const uint64_t n = padded(unit, ranks);
    s.padded += n;
    s.paged += pages(4 * n);
    s.neighbours = std::max(s.neighbours, before + n);
    before = n;
  }
  return s;
}

TEST(MemoryPlan, SumsUpWhatIsHeldOnAnyNumberOfRanks) {
  const Model model = odd_model();
  for (int ranks = 1; ranks <= 4; ++ranks)
    for (int stage = 0; stage <= 3; ++stage) {
      const auto plan = plan_memory(model, {.ranks = ranks, .stage = stage});
      const auto s = sums(model, ranks);
      const auto n = static_cast<uint64_t>(ranks);
      const bool alone = ranks == 1;
      const uint64_t slices = s.padded / n;
      SCOPED_TRACE(testing::Message() << ranks << " ranks, stage " << stage);
      EXPECT_EQ(plan.parameters_owned, stage == 3 && !alone ? 4 * slices : s.paged);
      EXPECT_EQ(plan.gradients, stage >= 2 && !alone ? 4 * (slices + s.neighbours) : 4 * s.padded);
      EXPECT_EQ(plan.optimizer, stage >= 1 && !alone ? 8 * slices : 8 * s.padded);
      if (stage < 3 || alone) {
        EXPECT_EQ(plan.parameters_gathered, 0u);
      }
      EXPECT_EQ(plan.communication == 0, alone);
      EXPECT_EQ(plan.peak(), plan.parameters_owned + plan.parameters_gathered + plan.gradients +
                                 plan.optimizer + plan.communication + plan.activations +
                                 plan.runtime);
    }
}

TEST(MemoryPlan, ACopyForTheCheckpointTakesWhatItsBufferAllows) {
  const Model model = odd_model();
  for (int stage = 0; stage <= 3; ++stage) {  // ranks share the writing at every stage
    RunShape run{.ranks = 3, .stage = stage};
    const uint64_t before = plan_memory(model, run).peak();
    EXPECT_EQ(plan_memory(model, run).checkpoint, 0u);
    run.save_buffer_bytes = uint64_t{1} << 40;
    EXPECT_EQ(plan_memory(model, run).checkpoint, sums(model, 3).padded / 3 * 12);
    run.save_buffer_bytes = 100;
    EXPECT_EQ(plan_memory(model, run).peak(), before + 100);
  }
}

TEST(MemoryPlan, GathersWithinTheBudgetButAtLeastTheUnitInUse) {
  const Model model = odd_model();
  RunShape run{.ranks = 3, .stage = 3};
  const auto bytes = resident_unit_bytes(model, run);
  EXPECT_EQ(plan_memory(model, run).parameters_gathered,
            std::max(bytes[0] + bytes[1], bytes[1] + bytes[2]));
  run.resident_bytes = 0;
  EXPECT_EQ(plan_memory(model, run).parameters_gathered, bytes[1]);
  run.resident_bytes = uint64_t{1} << 40;
  EXPECT_EQ(plan_memory(model, run).parameters_gathered, bytes[0] + bytes[1] + bytes[2] + bytes[3]);
}

TEST(MemoryPlan, CountsWhatAnElementTakes) {
  const Model model = odd_model();
  const RunShape wide{.ranks = 2, .stage = 1};
  RunShape narrow = wide;
  narrow.parameter_bytes = 2;
  narrow.optimizer_widths = {4, 4, 4};
  const auto a = plan_memory(model, wide), b = plan_memory(model, narrow);
  EXPECT_EQ(b.optimizer, a.optimizer / 2 * 3);
  EXPECT_LT(b.parameters_owned, a.parameters_owned * 51 / 100);
  RunShape plain_sgd = wide;
  plain_sgd.optimizer_widths = {};
  EXPECT_EQ(plan_memory(model, plain_sgd).optimizer, 0u);
}

TEST(MemoryPlan, GradientsThatAreUsedAsTheyComeTakeTwoUnits) {
  const Model model = odd_model();
  for (const int ranks : {1, 3})
    for (int stage = 0; stage <= 3; ++stage) {
      RunShape run{.ranks = ranks, .stage = stage, .update_in_backward = true};
      const uint64_t whole = 4 * sums(model, ranks).neighbours;
      EXPECT_EQ(plan_memory(model, run).gradients,
                stage >= 2 && ranks > 1 ? whole + whole / static_cast<uint64_t>(ranks) : whole);
      run.accumulation = 2;
      RunShape plain = run;
      plain.update_in_backward = false;
      EXPECT_EQ(plan_memory(model, run).gradients, plan_memory(model, plain).gradients);
    }
}

TEST(MemoryPlan, OfStateInFilesMemoryHoldsTheBuffers) {
  const Model model = model_of(gpt2_small());
  const RunShape here{.ranks = 2, .stage = 1};
  RunShape files = here;
  files.state_files = Files{.buffers = 3};
  const auto a = plan_memory(model, here), b = plan_memory(model, files);
  EXPECT_EQ(b.optimizer, 3u * (1 << 20) * 8);
  EXPECT_EQ(b.parameters(), a.parameters());
  files.state_files->share = 0.5;
  const auto half = plan_memory(model, files);
  EXPECT_LT(half.optimizer, a.optimizer * 3 / 4 + b.optimizer);
  EXPECT_GT(half.optimizer, a.optimizer / 4 + b.optimizer);
  files.state_files->share = 0;
  EXPECT_EQ(plan_memory(model, files).optimizer, a.optimizer);
}

// 16 bytes an element in fp32 with Adam, within padding; a quarter for the sliced parts on 4 ranks.
TEST(MemoryPlan, OfGpt2IsWhatTheParameterCountSays) {
  const Model model = model_of(gpt2_small());
  const double all = 124439808.0;
  EXPECT_NEAR(static_cast<double>(plan_memory(model, {.ranks = 4, .stage = 0}).state()), 16 * all,
              16 * all * 1e-3);
  EXPECT_NEAR(static_cast<double>(plan_memory(model, {.ranks = 4, .stage = 1}).state()),
              (8 + 8.0 / 4) * all, 16 * all * 1e-3);
  EXPECT_NEAR(static_cast<double>(plan_memory(model, {.ranks = 4, .stage = 3}).parameters_owned),
              all, all * 1e-3);
}

// "A higher stage needs more" is a complaint about other systems.
TEST(MemoryPlan, AHigherStageNeverNeedsMore) {
  for (const auto& spec : {gpt2_small(), gpt2_xl(), smollm2_135m(), llama2_7b()})
    for (const int ranks : {1, 2, 3, 4, 8, 64}) {
      const Model model = model_of(spec);
      uint64_t before = ~uint64_t{0};
      for (int stage = 0; stage <= 3; ++stage) {
        const auto state = plan_memory(model, {.ranks = ranks, .stage = stage}).state();
        EXPECT_LE(state, before) << spec.family << ", " << ranks << " ranks, stage " << stage;
        before = state;
      }
    }
}

}  // namespace
}  // namespace hydrofoil::plan::memory_plan_test
