// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/activations.h"

#include <gtest/gtest.h>

#include "specs.h"

namespace hydrofoil::plan::activations_test {
namespace {

// GPT-2: inputs of 2 norms 2 x 64; queries, keys, values, output 4 x 64 and 4 sums; 256 before the
// activation. Llama: 2 x 64; queries, output, keys, values 128 + 2 x 32 and 4 sums; 2 x 192.
TEST(Activations, KeepInputsOfNormsAndActivationsAndWhatAttentionTakesAndGives) {
  EXPECT_EQ(layer_elements_per_token(gpt2({64, 2, 4, 4, 256, 97, 64})), 644);
  EXPECT_EQ(layer_elements_per_token(llama({64, 2, 4, 2, 192, 97, 64})), 708);
}

TEST(Activations, OneLayerMoreCostsItsInputWithRecomputeAndAllItKeepsWithout) {
  const auto spec = llama2_7b();
  auto deeper = spec;
  ++deeper.layers;
  const auto more = [&](bool recompute) {
    return (activation_bytes(deeper, {8, 4096, recompute}) -
            activation_bytes(spec, {8, 4096, recompute})) /
           (8 * 4096 * 4);
  };
  EXPECT_EQ(more(true), 4096U);
  EXPECT_EQ(more(false), static_cast<uint64_t>(layer_elements_per_token(spec)));
}

// GPT-2 small in five tiles. Whole, the two gradients of the embedding are the peak; in tiles it is
// the loss: saved inputs, states and their gradient, a tile's gradient and a slice of it, its
// logits.
TEST(Activations, TilesTakeTheVocabularyOutOfThem) {
  const auto spec = gpt2_small();
  EXPECT_NEAR(static_cast<double>(activation_bytes(spec, {1, 64, true})), 2.0 * 4 * 50257 * 768,
              1e6);
  EXPECT_NEAR(static_cast<double>(activation_bytes(spec, {1, 64, true, 50257 * 768 / 4})),
              4.0 * (10052 * 768 + 10052 * 64 + 64 * (12 * 768 + 2 * 768 + 768)) + (4 << 20), 1e4);
}

}  // namespace
}  // namespace hydrofoil::plan::activations_test
