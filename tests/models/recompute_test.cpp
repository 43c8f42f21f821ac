// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/recompute.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <memory>

#include "tests/models/tiny.h"

namespace hydrofoil::models::recompute_test {
namespace {

LossSum loss_with_recompute(const Program& program, const Batch& batch, int* calls = nullptr) {
  auto x = program.forward(0, batch.tokens, batch);
  for (int b = 1; b + 1 < program.blocks(); ++b)
    x = recompute(
        [&program, &batch, b, calls](const at::Tensor& input) {
          if (calls) ++*calls;
          return program.forward(b, input, batch);
        },
        x);
  return program.loss(x, batch);
}

class Recompute : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Families, Recompute, testing::Values("gpt2", "llama"));

TEST_P(Recompute, LossAndGradientsKeepTheirBits) {
  const auto golden = test::golden_model(GetParam());
  const Batch batch = golden.batch(0);
  const LossSum plain = forward_loss(golden.model, batch);
  plain.sum.backward();
  const auto want = test::take_gradients(golden.model);
  int calls = 0;
  const LossSum again = loss_with_recompute(golden.model, batch, &calls);
  EXPECT_EQ(calls, golden.model.blocks() - 2);
  EXPECT_TRUE(test::same_bits(plain.sum.detach(), again.sum.detach()));
  again.sum.backward();
  EXPECT_EQ(calls, 2 * (golden.model.blocks() - 2));
  const auto got = test::take_gradients(golden.model);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(test::same_bits(got[i], want[i])) << i;
}

TEST_P(Recompute, GradientsAccumulateOverMicroBatches) {
  const auto golden = test::golden_model(GetParam());
  for (int i = 0; i < 3; ++i) forward_loss(golden.model, golden.batch(i)).sum.backward();
  const auto want = test::take_gradients(golden.model);
  for (int i = 0; i < 3; ++i) loss_with_recompute(golden.model, golden.batch(i)).sum.backward();
  const auto got = test::take_gradients(golden.model);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(test::same_bits(got[i], want[i])) << i;
}

TEST(RecomputeFunction, TrainsABlockWhoseInputIsFrozen) {
  const auto weight = test::random_normal({17, 17}, 1).set_requires_grad(true);
  const auto input = test::random_normal({5, 17}, 2);
  recompute([&](const at::Tensor& x) { return x.matmul(weight).relu(); }, input).sum().backward();
  const auto got = weight.grad().clone();
  weight.mutable_grad().reset();
  input.matmul(weight).relu().sum().backward();
  EXPECT_TRUE(test::same_bits(got, weight.grad()));
  EXPECT_FALSE(input.grad().defined());
}

TEST(RecomputeFunction, WithoutGradientsRunsOnce) {
  at::NoGradGuard no_grad;
  int calls = 0;
  const auto out =
      recompute([&](const at::Tensor& x) { return ++calls, x * 2; }, test::random_normal({3}, 1));
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(out.requires_grad());
}

// A store that counts: nothing else holds the input until backward.
struct Drawer final : ActivationStore {
  std::function<at::Tensor()> keep(const at::Tensor& values) override {
    ++held;
    const std::shared_ptr<void> room(nullptr, [this](void*) { --held; });
    return [copy = values.clone(), room] { return copy.clone(); };
  }
  int held = 0;
};

TEST(RecomputeFunction, InputsMayWaitInAStore) {
  for (const bool wants : {false, true}) {
    const auto weight = test::random_normal({17, 17}, 1).set_requires_grad(true);
    const auto leaf = test::random_normal({5, 17}, 2).set_requires_grad(wants);
    const auto block = [&](const at::Tensor& x) { return x.matmul(weight).relu(); };
    block(leaf * 2).sum().backward();
    const auto want = weight.grad().clone(), want_leaf = leaf.grad();
    weight.mutable_grad().reset(), leaf.mutable_grad().reset();
    Drawer drawer;
    auto input = leaf * 2;
    const auto weak = input.getIntrusivePtr();
    auto out = recompute(block, input, &drawer).sum();
    input.reset();
    EXPECT_EQ(weak.use_count(), 1u);
    EXPECT_EQ(drawer.held, 1);
    out.backward();
    out.reset();
    EXPECT_EQ(drawer.held, 0);
    EXPECT_TRUE(test::same_bits(weight.grad(), want));
    if (wants) {
      EXPECT_TRUE(test::same_bits(leaf.grad(), want_leaf));
    }
  }
}

// What is kept until backward: the inputs of the blocks, not what happens inside them.
TEST(RecomputeFunction, KeepsOnlyTheInput) {
  const auto x = test::random_normal({3, 17}, 1).set_requires_grad(true);
  at::Tensor inside;
  const auto out = recompute(
      [&](const at::Tensor& input) {
        const auto hidden = input * 2;
        inside = hidden;
        return hidden * hidden;
      },
      x);
  EXPECT_EQ(inside.use_count(), 1u);
  EXPECT_FALSE(inside.requires_grad());
  out.sum().backward();
  EXPECT_TRUE(test::same_bits(x.grad(), x.detach() * 8));
}

}  // namespace
}  // namespace hydrofoil::models::recompute_test
