// SPDX-License-Identifier: Apache-2.0
// Oracle: at::cross_entropy_loss on whole logits, in fp64.
#include "hydrofoil/models/cross_entropy.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <limits>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"
#include "tests/models/tiny.h"

namespace hydrofoil::models::cross_entropy_test {
namespace {

struct Problem {
  at::Tensor hidden;     // [2, N/2, H]
  at::Tensor weight;     // [V, H]
  at::Tensor labels;     // [2, N/2]
  at::Tensor bias = {};  // [V]
  double softcap = 0;
  Head head() const { return {weight, bias, softcap}; }
};

Problem problem(int64_t rows, int64_t hidden, int64_t vocabulary, double labelled) {
  Problem p;
  p.hidden = test::random_normal({2, rows / 2, hidden}, 1).set_requires_grad(true);
  p.weight = (test::random_normal({vocabulary, hidden}, 2) * 0.3).set_requires_grad(true);
  p.labels = at::full({2, rows / 2}, kIgnoreLabel, at::TensorOptions().dtype(at::kLong));
  const Philox random(1, RandomUse::kTest, 3);
  auto* out = p.labels.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < p.labels.numel(); ++i)
    if (random.uniform(2 * i) < labelled)
      out[i] = static_cast<int64_t>(random.below(vocabulary, 2 * i + 1));
  return p;
}

struct Answer {
  at::Tensor loss, hidden_grad, weight_grad, bias_grad;  // fp64
};
Answer oracle(const Problem& p, double scale) {
  const auto h = p.hidden.detach().to(at::kDouble).set_requires_grad(true);
  const auto w = p.weight.detach().to(at::kDouble).set_requires_grad(true);
  const auto b = at::zeros({w.size(0)}, w.options()).set_requires_grad(true);
  auto logits = at::linear(h, w, p.bias.defined() ? b + p.bias.detach() : b);
  if (p.softcap != 0) logits = at::tanh(logits / p.softcap) * p.softcap;
  const auto loss = at::cross_entropy_loss(logits.flatten(0, 1), p.labels.flatten(), {},
                                           /*reduction: sum=*/2, kIgnoreLabel);
  (loss * scale).backward();
  return {loss.detach(), h.grad(), w.grad(), b.grad()};
}

void expect_matches(const Problem& p, double scale) {
  const Answer want = oracle(p, scale);
  const LossSum got = linear_cross_entropy(p.hidden, p.head(), p.labels);
  EXPECT_EQ(got.weight, p.labels.ne(kIgnoreLabel).sum().item<double>());
  EXPECT_LT(test::relative_difference(got.sum.detach(), want.loss), 1e-6);
  (got.sum * scale).backward();
  EXPECT_LT(test::relative_difference(p.hidden.grad(), want.hidden_grad), 3e-6);
  EXPECT_LT(test::relative_difference(p.weight.grad(), want.weight_grad), 3e-6);
  if (!p.bias.defined()) return;
  EXPECT_LT(test::relative_difference(p.bias.grad(), want.bias_grad), 3e-6);
}

TEST(LinearCrossEntropy, MatchesWholeLogitsInOneChunk) {
  expect_matches(problem(34, 36, 97, 1.0), 1.0);
}
TEST(LinearCrossEntropy, MatchesWholeLogitsInSeveralChunks) {
  expect_matches(problem(334, 17, 100003, 1.0), 1.0);  // 83 rows a chunk: 5 chunks of 67
}
TEST(LinearCrossEntropy, SkipsUnlabelledRows) {
  expect_matches(problem(334, 17, 30011, 0.4), 1.0);
}
TEST(LinearCrossEntropy, ScalesGradients) {
  expect_matches(problem(34, 36, 97, 0.9), -2.5);
}

TEST(LinearCrossEntropy, AddsABiasAndCapsLogits) {
  for (const double cap : {0.0, 1.5, 30.0})
    for (const bool bias : {false, true}) {
      Problem p = problem(334, 17, 100003, 0.9);
      if (bias) p.bias = test::random_normal({100003}, 4).set_requires_grad(true);
      p.softcap = cap;
      expect_matches(p, 1.0);
    }
}

// Products, logits and their gradients are rounded to bf16, nothing else.
TEST(LinearCrossEntropy, LosesNoMoreThanTheRoundingInBFloat) {
  const Problem p = problem(334, 17, 30011, 0.9);
  const Answer want = oracle(p, 1.0);
  Head head = p.head();
  head.type = at::kBFloat16;
  const LossSum got = linear_cross_entropy(p.hidden, head, p.labels);
  got.sum.backward();
  EXPECT_LT(test::relative_difference(got.sum.detach(), want.loss), 1e-3);
  EXPECT_LT(test::relative_difference(p.hidden.grad(), want.hidden_grad), 1e-2);
  EXPECT_LT(test::relative_difference(p.weight.grad(), want.weight_grad), 1e-2);
}

// The same matrix in tiles, the last one smaller.
void expect_tiles_match(const Problem& p, int64_t tile_rows, double scale) {
  const Answer want = oracle(p, scale);
  Head head = p.head();
  head.weight.tiles.clear();
  for (const auto& tile : p.weight.detach().split(tile_rows))
    head.weight.tiles.push_back(tile.clone().set_requires_grad(true));
  const LossSum got = linear_cross_entropy(p.hidden, head, p.labels);
  EXPECT_LT(test::relative_difference(got.sum.detach(), want.loss), 1e-6);
  (got.sum * scale).backward();
  EXPECT_LT(test::relative_difference(p.hidden.grad(), want.hidden_grad), 3e-6);
  std::vector<at::Tensor> grads;
  for (const auto& tile : head.weight.tiles) grads.push_back(tile.grad());
  EXPECT_LT(test::relative_difference(at::cat(grads), want.weight_grad), 3e-6);
  if (p.bias.defined()) {
    EXPECT_LT(test::relative_difference(p.bias.grad(), want.bias_grad), 3e-6);
  }
  at::NoGradGuard no_grad;
  EXPECT_TRUE(test::same_bits(linear_cross_entropy(p.hidden, head, p.labels).sum, got.sum));
  const auto logits_of_tiles = logits(p.hidden, head);
  EXPECT_LT(test::relative_difference(logits_of_tiles, logits(p.hidden, p.head())), 1e-6);
}

TEST(TiledCrossEntropy, MatchesWholeLogits) {
  for (const int64_t tile_rows : {1, 13, 96, 97, 400})
    expect_tiles_match(problem(34, 36, 97, 0.8), tile_rows, 1.0);
}
TEST(TiledCrossEntropy, MatchesThemInSeveralChunksOfRowsScaledCappedAndWithABias) {
  for (const double cap : {0.0, 1.5}) {
    Problem p = problem(334, 17, 100003, 0.9);
    p.bias = test::random_normal({100003}, 4).set_requires_grad(true);
    p.softcap = cap;
    expect_tiles_match(p, 60001, -2.5);
  }
}
TEST(TiledCrossEntropy, HugeLogitsDoNotOverflow) {
  Problem p = problem(34, 36, 97, 1.0);
  p.hidden = (p.hidden.detach() * 1e4).set_requires_grad(true);
  expect_tiles_match(p, 20, 1.0);
}

// Every tile, also where nothing is labelled, and the last one first: what waits for them counts on
// it. When one arrives the one before is not there yet.
TEST(TiledCrossEntropy, TilesGetTheirGradientsOneByOne) {
  for (const double labelled : {0.0, 0.7}) {
    const Problem p = problem(34, 36, 97, labelled);
    Head head = p.head();
    head.weight.tiles.clear();
    std::vector<int> arrived;
    for (int i = 0; i < 4; ++i) {
      const auto part = p.weight.detach().narrow(0, 24 * i, i < 3 ? 24 : 25);
      head.weight.tiles.push_back(part.clone().set_requires_grad(true));
      head.weight.tiles.back().register_hook([&, i](const at::Tensor&) {
        for (int other = 0; other <= i; ++other)
          EXPECT_FALSE(head.weight.tiles[static_cast<size_t>(other)].grad().defined());
        arrived.push_back(i);
      });
    }
    linear_cross_entropy(p.hidden, head, p.labels).sum.backward();
    EXPECT_THAT(arrived, testing::ElementsAre(3, 2, 1, 0));
  }
}

TEST(LinearCrossEntropy, NoLabelsIsZeroLossAndZeroGradient) {
  const Problem p = problem(34, 36, 97, 0.0);
  const LossSum got = linear_cross_entropy(p.hidden, p.head(), p.labels);
  EXPECT_EQ(got.weight, 0);
  EXPECT_EQ(got.sum.item<float>(), 0);
  got.sum.backward();
  EXPECT_EQ(p.hidden.grad().abs().max().item<float>(), 0);
  EXPECT_EQ(p.weight.grad().abs().max().item<float>(), 0);
}

TEST(LinearCrossEntropy, LossAloneKeepsNoGraph) {
  const Problem p = problem(34, 36, 97, 1.0);
  const auto with_grad = linear_cross_entropy(p.hidden, p.head(), p.labels);
  at::NoGradGuard no_grad;
  const auto without = linear_cross_entropy(p.hidden, p.head(), p.labels);
  EXPECT_FALSE(without.sum.requires_grad());
  EXPECT_TRUE(test::same_bits(with_grad.sum.detach(), without.sum));
}

TEST(LinearCrossEntropy, FrozenWeightGetsNoGradient) {
  const Problem p = problem(34, 36, 97, 0.8);
  const auto want = oracle(p, 1.0);
  linear_cross_entropy(p.hidden, {p.weight.detach()}, p.labels).sum.backward();
  EXPECT_LT(test::relative_difference(p.hidden.grad(), want.hidden_grad), 3e-6);
  EXPECT_FALSE(p.weight.grad().defined());
}

TEST(LinearCrossEntropy, HugeLogitsDoNotOverflow) {
  Problem p = problem(34, 36, 97, 1.0);
  p.hidden = (p.hidden.detach() * 1e4).set_requires_grad(true);
  expect_matches(p, 1.0);
}

TEST(LinearCrossEntropy, NotANumberStaysVisible) {
  const Problem p = problem(34, 36, 97, 1.0);
  const auto bad = p.hidden.detach().clone();
  bad.select(0, 0).select(0, 3).fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(linear_cross_entropy(bad, p.head(), p.labels).sum.isnan().item<bool>());
}

TEST(LinearCrossEntropy, RefusesALabelOutsideTheVocabulary) {
  const Problem p = problem(34, 36, 97, 1.0);
  for (const int64_t bad : {int64_t{97}, int64_t{-1}}) {
    const auto labels = p.labels.clone();
    labels.select(0, 1).select(0, 5).fill_(bad);
    EXPECT_THAT([&] { linear_cross_entropy(p.hidden, p.head(), labels); },
                testing::ThrowsMessage<Error>(testing::HasSubstr("label " + std::to_string(bad))));
  }
}

TEST(LinearCrossEntropy, GradientsAreHandedOutOnce) {
  const Problem p = problem(34, 36, 97, 1.0);
  const auto loss = linear_cross_entropy(p.hidden, p.head(), p.labels).sum;
  loss.backward({}, /*retain_graph=*/true);
  EXPECT_ANY_THROW(loss.backward());
}

}  // namespace
}  // namespace hydrofoil::models::cross_entropy_test
