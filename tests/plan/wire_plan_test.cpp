// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/wire_plan.h"

#include <gtest/gtest.h>

#include <numeric>

#include "hydrofoil/plan/stage_time.h"
#include "hydrofoil/plan/time_plan.h"
#include "specs.h"

namespace hydrofoil::plan::wire_plan_test {
namespace {

Model odd_model() {
  return model_of({{"a", {17, 97}}, {"b", {1000003}}, {"c", {65, 1}}});
}

// f P b of the formulas, summed over ranks that each receive what the others own.
uint64_t one_pass(const Model& model, int ranks) {
  uint64_t received = 0;
  for (const auto& size : unit_sizes(model, {.ranks = ranks}))
    for (int other = 1; other < ranks; ++other) received += 4 * size.slice_numel;
  return received;
}

TEST(WirePlan, FollowsTheFormulasOnAnyNumberOfRanks) {
  const Model model = odd_model();
  for (int ranks = 1; ranks <= 4; ++ranks)
    for (const int64_t g : {1, 3}) {
      const uint64_t pass = one_pass(model, ranks);
      const auto plan = [&](int stage) {
        return plan_wire(model, {.ranks = ranks, .stage = stage, .accumulation = g});
      };
      SCOPED_TRACE(testing::Message() << ranks << " ranks, " << g << " micro-batches");
      EXPECT_EQ(plan(0).all_reduce, 2 * pass);
      EXPECT_EQ(plan(0).total(), 2 * pass);
      if (ranks == 1) continue;
      EXPECT_EQ(plan(1).reduce_scatter, pass);
      EXPECT_EQ(plan(1).read, pass);
      EXPECT_EQ(plan(1).total(), 2 * pass);
      EXPECT_EQ(plan(2).reduce_scatter, static_cast<uint64_t>(g) * pass);
      EXPECT_EQ(plan(2).read, pass);
      EXPECT_EQ(plan(3).reduce_scatter, static_cast<uint64_t>(g) * pass);
      EXPECT_LE(plan(3).read, 2 * static_cast<uint64_t>(g) * pass);
      EXPECT_GE(plan(3).read, pass);
    }
}

TEST(WirePlan, OneRankReceivesNothingAtAnyStage) {
  for (int stage = 0; stage <= 3; ++stage) {
    const auto plan = plan_wire(odd_model(), {.ranks = 1, .stage = stage, .accumulation = 2});
    EXPECT_EQ(plan.total(), 0u);
    EXPECT_TRUE(plan.by_operation().empty());
  }
}

TEST(WirePlan, ABudgetForAllReadsOnceAStepAndNoneTwiceAMicroBatch) {
  const Model model = odd_model();
  RunShape run{.ranks = 3, .stage = 3, .accumulation = 4, .resident_bytes = uint64_t{1} << 40};
  EXPECT_EQ(plan_wire(model, run).read, one_pass(model, 3));
  run.resident_bytes = 0;
  const auto sizes = unit_sizes(model, {.ranks = 3});
  // The last unit is used once, between the two directions; the first one at the end of a
  // micro-batch and at the start of the next.
  const uint64_t expected =
      4 * 2 *
      ((8 - 3) * sizes[0].slice_numel + 8 * sizes[1].slice_numel + 4 * sizes[2].slice_numel);
  EXPECT_EQ(plan_wire(model, run).read, expected);
}

TEST(WirePlan, StatesPaddingApart) {
  const Model model = odd_model();
  const double payload = 17 + 97 + 1000003 + 65 + 1;
  for (int ranks = 2; ranks <= 4; ++ranks) {
    const auto plan = plan_wire(model, {.ranks = ranks, .stage = 1});
    const double ideal = 2.0 * (ranks - 1) / ranks * payload * 4;
    EXPECT_NEAR(static_cast<double>(plan.total() - plan.padding), ideal, 1.5);
  }
}

TEST(WirePlan, OfGpt2IsWhatTheParameterCountSays) {
  const auto plan = plan_wire(model_of(gpt2_small()), {.ranks = 4, .stage = 2, .accumulation = 2});
  EXPECT_NEAR(static_cast<double>(plan.reduce_scatter), 2 * 0.75 * 124439808.0 * 4, 1e6);
  EXPECT_LT(plan.padding, plan.total() / 1000);
}

// Stages divide what ranks with parts of matrices exchange, and what they hold; two ends of a tied
// weight are held twice.
TEST(WirePlan, StagesDivideWhatSharedMatricesCost) {
  for (const bool tied : {true, false}) {
    const auto spec = llama({60, 5, 5, 5, 97, 1003, 64}, tied);
    const auto one_stage = model_of(spec, 0, {0, 2});
    RunShape run{.ranks = 2, .tensor_ranks = 2, .accumulation = 3, .sequence_length = 17};
    const WirePlan want = plan_wire(one_stage, run);
    run.pipeline.stages = 3;
    run.cuts = parallel::cut_blocks(spec, run.pipeline, run.sequence_length);
    uint64_t sums = 0;
    size_t parameters = 0, own = 0, whole = 0;
    for (; run.pipeline_stage < 3; ++run.pipeline_stage) {
      const Model stage = stage_of(one_stage, run);
      sums += plan_wire(stage, run).sums;
      parameters += stage.parameters();
      for (const auto& unit : stage.units)
        own += std::accumulate(unit.numels.begin(), unit.numels.end(), size_t{0});
    }
    for (const auto& unit : one_stage.units)
      whole += std::accumulate(unit.numels.begin(), unit.numels.end(), size_t{0});
    EXPECT_EQ(sums, want.sums);
    EXPECT_EQ(parameters, one_stage.parameters() + (tied ? 1003 * 60 : 0));
    EXPECT_EQ(own, whole + (tied ? 502 * 60 : 0));
  }
}

// 24 tokens a step and rank at most, in rows of 64 and their numbers.
TEST(WirePlan, SparseGradientsSendTheRowsOfTheTokens) {
  const Sizes sizes{64, 2, 4, 4, 96, 50021, 128};
  const RunShape dense{.ranks = 3, .micro_batch = 2, .accumulation = 3, .sequence_length = 4};
  RunShape sparse = dense;
  sparse.sparse_gradients = true;
  const Model model = model_of(llama(sizes, /*tied_head=*/false));
  const auto before = plan_wire(model, dense), after = plan_wire(model, sparse);
  EXPECT_EQ(before.all_gather, 0u);
  EXPECT_EQ(after.all_gather, 2u * 24 * (64 + 1) * 4);
  EXPECT_EQ(before.all_reduce - after.all_reduce, 2u * 2 * 50021 * 64 * 4 / 3);
  const Model tiles = model_of(llama(sizes, /*tied_head=*/false), 64 * 1000);
  EXPECT_NEAR(static_cast<double>(plan_wire(tiles, sparse).all_gather), 2.0 * 24 * 65 * 4,
              2.0 * 51 * 65 * 4);  // each rounds up to a row
  sparse.micro_batch = 1 << 20;    // every token: all of it
  EXPECT_EQ(plan_wire(model, sparse).total(), before.total());
  const Model tied = model_of(llama(sizes, /*tied_head=*/true));
  sparse.micro_batch = 2;
  EXPECT_EQ(plan_wire(tied, sparse).total(), plan_wire(tied, dense).total());
}

TEST(TimePlan, AddsUpItsCausesAndNamesTheLargest) {
  const Model model = model_of(gpt2_small());
  const RunShape run{
      .ranks = 2, .stage = 1, .micro_batch = 4, .accumulation = 2, .sequence_length = 256};
  EXPECT_EQ(plan_time(model, run, {}).bottleneck(), "");
  EXPECT_EQ(plan_time(model, run, {}).tokens_per_second, 0);
  const auto plan = plan_time(model, run, {.flops_per_second = 1e11, .wire_bytes_per_second = 1e9});
  const double flops = spec::flops_per_token(*model.spec, 256) * 4 * 2 * 256;
  EXPECT_DOUBLE_EQ(plan.compute_seconds, flops / 1e11);
  EXPECT_DOUBLE_EQ(plan.wire_seconds, static_cast<double>(plan_wire(model, run).total()) / 1e9);
  EXPECT_EQ(plan.update_seconds, 0);
  EXPECT_EQ(plan.bottleneck(), "compute");
  EXPECT_DOUBLE_EQ(plan.tokens_per_second, 4096 / plan.total_seconds());
  EXPECT_EQ(
      plan_time(model, run, {.flops_per_second = 1e15, .wire_bytes_per_second = 1e6}).bottleneck(),
      "wire");
}

// Forward of the layers once more: a third of their forward and backward.
TEST(TimePlan, RecomputeCostsAnotherForwardOfTheLayers) {
  const Model model = model_of(gpt2_small());
  RunShape run{.sequence_length = 1024};
  const double head = 6.0 * 50257 * 768 * 1024;
  const double plain = flops_per_step(model, run).total();
  run.recompute = true;
  EXPECT_NEAR(flops_per_step(model, run).total(), head + (plain - head) * 4 / 3, plain * 1e-12);
}

}  // namespace
}  // namespace hydrofoil::plan::wire_plan_test
