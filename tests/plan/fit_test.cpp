// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hydrofoil/plan/memory_plan.h"
#include "specs.h"

namespace hydrofoil::plan::fit_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

host::Memory with(uint64_t bytes) {
  return {.total_bytes = bytes,
          .available_bytes = bytes,
          .cgroup_limit_bytes = {},
          .cgroup_used_bytes = {}};
}
uint64_t peak(const Model& model, const RunShape& run) {
  return plan_memory(model, run).peak();
}

TEST(Fit, LooksAtMemoryAndTheControlGroup) {
  const Model model = model_of(gpt2_small());
  const RunShape run{.ranks = 2, .stage = 1};
  const uint64_t needed = 2 * peak(model, run);
  EXPECT_TRUE(fit(model, run, {with(needed), 2}).fits());
  EXPECT_FALSE(fit(model, run, {with(needed - 1), 2}).fits());
  auto memory = with(4 * needed);
  memory.cgroup_limit_bytes = needed + 10;
  memory.cgroup_used_bytes = 10;
  EXPECT_TRUE(fit(model, run, {memory, 2}).fits());
  memory.cgroup_used_bytes = 11;
  EXPECT_FALSE(fit(model, run, {memory, 2}).fits());
  EXPECT_TRUE(fit(model, run, {with(needed / 2), 1}).fits());  // the other rank is elsewhere
}

TEST(Fit, NothingIsProposedForWhatFits) {
  EXPECT_FALSE(fit(model_of(gpt2_small()), {}, {with(uint64_t{1} << 40), 1}).change.has_value());
}

TEST(Fit, RecomputeIsTheFirstProposal) {
  const Model model = model_of(gpt2_small());
  const RunShape run{.ranks = 2, .stage = 0, .micro_batch = 8, .sequence_length = 1024};
  RunShape cheaper = run;
  cheaper.recompute = true;
  const auto result = fit(model, run, {with(2 * peak(model, cheaper)), 2});
  ASSERT_TRUE(result.change);
  EXPECT_THAT(result.change->settings, ElementsAre("recompute=true"));
  EXPECT_EQ(result.change->needed_bytes, 2 * peak(model, cheaper));
}

TEST(Fit, TheLowestStageThatFitsIsProposed) {
  const Model model = model_of(gpt2_xl());
  const RunShape run{.ranks = 4, .stage = 0, .sequence_length = 16};  // state, hardly activations
  for (int stage = 1; stage <= 3; ++stage) {
    RunShape cheaper = run;
    cheaper.stage = stage;
    const auto result = fit(model, run, {with(4 * peak(model, cheaper)), 4});
    ASSERT_TRUE(result.change);
    EXPECT_THAT(result.change->settings,
                ElementsAre("deepspeed.zero_optimization.stage=" + std::to_string(stage)));
  }
}

TEST(Fit, ASmallerMicroBatchKeepsTheBatch) {
  const Model model = model_of(gpt2_small());
  const RunShape run{.ranks = 1,
                     .stage = 0,
                     .micro_batch = 12,
                     .accumulation = 2,
                     .sequence_length = 512,
                     .recompute = true};
  RunShape cheaper = run;
  cheaper.micro_batch = 4;
  cheaper.accumulation = 6;
  const auto result = fit(model, run, {with(peak(model, cheaper)), 1});
  ASSERT_TRUE(result.change);
  EXPECT_THAT(result.change->settings, ElementsAre("deepspeed.train_micro_batch_size_per_gpu=4",
                                                   "deepspeed.gradient_accumulation_steps=6"));
}

TEST(Fit, ChangesAreCombinedWhenOneIsNotEnough) {
  const Model model = model_of(gpt2_xl());
  const RunShape run{.ranks = 2, .stage = 0, .micro_batch = 4, .sequence_length = 1024};
  RunShape least = run;
  least.recompute = true;
  least.stage = 3;
  least.micro_batch = 1;
  least.accumulation = 4;
  const auto result = fit(model, run, {with(2 * peak(model, least)), 2});
  ASSERT_TRUE(result.change);
  EXPECT_THAT(result.change->settings,
              ElementsAre("recompute=true", "deepspeed.zero_optimization.stage=3",
                          "deepspeed.train_micro_batch_size_per_gpu=1",
                          "deepspeed.gradient_accumulation_steps=4"));
}

TEST(Fit, BlocksAreCutBeforeLayersAreRecomputedWhereParametersLieInFiles) {
  const Model model = model_of(llama2_7b());
  const RunShape run{.ranks = 1,
                     .stage = 3,
                     .sequence_length = 16,
                     .state_files = Files{},
                     .parameter_files = Files{.buffers = 5}};
  const uint64_t enough = peak(model_of(llama2_7b(), 16 << 20), run);
  ASSERT_LT(enough, peak(model, run) / 2);
  const auto result = fit(model, run, {with(enough), 1});
  ASSERT_TRUE(result.change);
  EXPECT_THAT(result.change->settings, ElementsAre("unit_elements=16777216"));
  EXPECT_EQ(result.change->needed_bytes, enough);
  RunShape lamb = run;  // which takes norms of whole tensors
  lamb.norms_first = true;
  EXPECT_FALSE(fit(model, lamb, {with(enough), 1}).change.has_value());
}

TEST(Fit, MoreHostsAreTheLastResort) {
  const Model model = model_of(llama2_7b());
  const RunShape run{.ranks = 2, .stage = 3, .recompute = true};
  RunShape more = run;
  more.ranks = 8;
  const auto result = fit(model, run, {with(2 * peak(model, more)), 2});
  ASSERT_TRUE(result.change);
  EXPECT_EQ(result.change->ranks, 8);
  EXPECT_TRUE(result.change->more_hosts);
  EXPECT_THAT(result.change->settings, IsEmpty());
  EXPECT_FALSE(fit(model, run, {with(1 << 20), 2}).change.has_value());
}

}  // namespace
}  // namespace hydrofoil::plan::fit_test
