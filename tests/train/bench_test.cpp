// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/bench.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <numeric>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/train/work_timer.h"
#include "tests/support/ranks.h"

namespace hydrofoil::train::bench_test {
namespace {

TEST(Bench, ShapesAreThoseOfTheirNames) {
  const auto parameters = [](const char* name) {
    return static_cast<double>(spec::parameter_count(bench_shape(name).spec())) * 1e-6;
  };
  EXPECT_NEAR(parameters("S"), 42, 1);
  EXPECT_NEAR(parameters("M"), 182, 2);
  EXPECT_NEAR(parameters("bert-base"), 110, 2);
  EXPECT_FALSE(bench_shape("bert-base").spec().causal);
  EXPECT_THROW(bench_shape("s"), Error);
}

TEST(WorkTimer, WhatHasNoKindIsPartOfWhatCalledIt) {
  EXPECT_EQ(work_of("aten::mm", Work::kOther, false), Work::kForwardProducts);
  EXPECT_EQ(work_of("aten::mm", Work::kOther, true), Work::kBackwardProducts);
  EXPECT_EQ(work_of("aten::mm", Work::kLoss, false), Work::kLoss);
  EXPECT_EQ(work_of("aten::sum", Work::kBackwardProducts, true), Work::kBackwardProducts);
  EXPECT_EQ(work_of("aten::copy_", Work::kOther, false), Work::kOther);
  EXPECT_EQ(work_of("aten::native_layer_norm_backward", Work::kOther, true), Work::kPointwise);
  EXPECT_EQ(work_of("torch::autograd::CppNode<models::FlashAttention>", Work::kOther, true),
            Work::kAttention);
  EXPECT_EQ(work_of("torch::autograd::AccumulateGrad", Work::kOther, true), Work::kGradients);
}

// Times of operators inside others are counted once.
TEST(WorkTimer, TimesAddUp) {
  const auto a = at::ones({256, 256}).requires_grad_(), b = at::ones({256, 256});
  std::array<double, kWorks> seconds{};
  const auto start = std::chrono::steady_clock::now();
  {
    const WorkTimer timer;
    at::layer_norm(at::mm(a, b), {256}).sum().backward();
    seconds = timer.seconds();
  }
  const double all =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const Work work : {Work::kForwardProducts, Work::kBackwardProducts, Work::kPointwise})
    EXPECT_GT(seconds[static_cast<size_t>(work)], 0) << name_of(work);
  EXPECT_LE(std::accumulate(seconds.begin(), seconds.end(), 0.0), all);
}

// Of every rank and stage; a step's kinds of work are all there, and are all of it.
TEST(Bench, KindsOfWorkAddUpToAStep) {
  const BenchShape shape{"tiny",
                         R"({"model_type":"llama","vocab_size":97,"max_position_embeddings":32,
                             "hidden_size":36,"intermediate_size":50,"num_hidden_layers":2,
                             "num_attention_heads":6,"num_key_value_heads":2})",
                         17, 3};
  test::run_ranks(2, [&](const comm::Communicator& group) {
    StepBench bench(group, shape, {.stage = 2});
    EXPECT_EQ(bench.tokens(), 2 * 3 * 17);
    EXPECT_GT(bench.step(), 0);
    const auto start = std::chrono::steady_clock::now();
    const auto by_work = bench.profiled_step();
    const double all =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    for (const double seconds : by_work) EXPECT_GT(seconds, 0);
    EXPECT_LE(std::accumulate(by_work.begin(), by_work.end(), 0.0), all);
    group.barrier();
  });
}

}  // namespace
}  // namespace hydrofoil::train::bench_test
