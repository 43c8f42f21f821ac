// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/tiled.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <memory>

#include "hydrofoil/models/layers.h"
#include "tests/models/tiny.h"

namespace hydrofoil::models::tiled_test {
namespace {

Mlp mlp(bool gated, int64_t rows) {
  const auto parameter = [](at::IntArrayRef shape, uint64_t stream) {
    return (test::random_normal(shape, stream) * 0.3).set_requires_grad(true);
  };
  Mlp result;
  result.up.weight = parameter({51, 17}, 1), result.up.bias = parameter({51}, 2);
  result.down.weight = parameter({17, 51}, 3);
  if (gated) result.gate.weight = parameter({51, 17}, 4);
  result.rows = rows;
  return result;
}

TEST(Tiled, FeedForwardsOfAnyLengthEqualThoseInOnePiece) {
  for (const bool gated : {false, true})
    for (const int64_t rows : {1, 7, 16, 34, 35, 100})
      for (const bool wants : {true, false}) {
        const auto x = test::random_normal({5, 7, 17}, 9).set_requires_grad(wants);
        const auto y = x.detach().clone().set_requires_grad(wants);
        const auto weights = test::random_normal({5, 7, 17}, 10);
        const Mlp whole = mlp(gated, 0), chunks = mlp(gated, rows);
        const auto want = feed_forward(x, whole), got = feed_forward(y, chunks);
        EXPECT_LT(test::relative_difference(got.detach(), want.detach()), 1e-6) << rows;
        (want * weights).sum().backward(), (got * weights).sum().backward();
        const auto near = [&](const at::Tensor& a, const at::Tensor& b) {
          EXPECT_LT(test::relative_difference(a.grad(), b.grad()), 2e-6) << rows;
        };
        if (wants) near(y, x);
        near(chunks.up.weight, whole.up.weight), near(chunks.up.bias, whole.up.bias);
        near(chunks.down.weight, whole.down.weight);
        if (gated) near(chunks.gate.weight, whole.gate.weight);
      }
}

struct Count final : torch::autograd::PostAccumulateGradHook {
  explicit Count(int& count) : arrived(count) {}
  void operator()(const at::Tensor&) override { ++arrived; }
  int& arrived;
};

// What reduces gradients may take each for final.
TEST(Tiled, AParameterGetsOneGradient) {
  const Mlp chunks = mlp(true, 4);
  int arrived = 0;
  torch::autograd::impl::set_post_acc_grad_hooks(chunks.up.weight,
                                                 std::make_unique<Count>(arrived));
  feed_forward(test::random_normal({3, 5, 17}, 9), chunks).sum().backward();
  EXPECT_EQ(arrived, 1);
}

TEST(Tiled, InsideThereIsOneChunkAtATime) {
  const auto weight = test::random_normal({17, 17}, 1).set_requires_grad(true);
  int64_t most = 0;
  const auto fn = [&](const at::Tensor& rows) {
    most = std::max(most, rows.size(0));
    return rows.matmul(weight);
  };
  tiled(fn, test::random_normal({100, 17}, 2), {weight}, 30).sum().backward();
  EXPECT_EQ(most, 30);
  at::NoGradGuard no_grad;
  EXPECT_FALSE(tiled(fn, test::random_normal({100, 17}, 2), {weight}, 30).requires_grad());
}

}  // namespace
}  // namespace hydrofoil::models::tiled_test
