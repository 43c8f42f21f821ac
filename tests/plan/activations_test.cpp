// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/activations.h"

#include <gtest/gtest.h>

#include "specs.h"

namespace hydrofoil::plan::activations_test {
namespace {

spec::ModelSpec untied(spec::ModelSpec spec) {
  spec.tied_head = false;
  return spec;
}

// GPT-2: counted with autograd's saved-tensor hooks on the same operators (PyTorch 2.13, CPU).
// Llama: 2 norms of 2 x 64; queries, output, keys, values 128 + 2 x 32 and 4 sums; 3 x 192.
TEST(Activations, KeepWhatAutogradKeepsOfALayer) {
  EXPECT_EQ(layer_elements_per_token(gpt2({64, 2, 4, 4, 256, 97, 64})), 1032);
  EXPECT_EQ(layer_elements_per_token(llama({64, 2, 4, 2, 192, 97, 64})), 1028);
}

struct Measured {
  spec::ModelSpec spec;
  int64_t micro_batch, sequence_length;
  uint64_t plain_bytes, recompute_bytes;
};

// Highest running sum of libtorch's allocations during forward and backward of one micro-batch
// (2.13, CPU, MKL's products): the peak lies at the loss in some and in backward in others.
TEST(Activations, PeakAsTheAllocatorMeasuresIt) {
  const Measured cases[] = {
      {gpt2({256, 4, 4, 4, 1024, 1000, 128}), 2, 128, 20672520, 8897544},
      {llama({256, 4, 8, 2, 704, 1000, 128}), 2, 128, 19359752, 7913480},
      {gpt2({128, 2, 4, 4, 512, 50257, 64}), 1, 64, 51528712, 51528712},
      {llama({96, 3, 3, 1, 256, 20000, 256}), 4, 256, 57760264, 41601544},
      {gpt2({768, 12, 12, 12, 3072, 50257, 256}), 2, 256, 491424264, 311924744},
      {untied(gpt2({128, 2, 4, 4, 512, 50257, 64})), 1, 64, 43943688, 42956552},
      {untied(llama({256, 4, 8, 2, 704, 1000, 128})), 2, 128, 19359752, 6889480},
      {untied(gpt2({256, 4, 4, 4, 1024, 1000, 128})), 2, 128, 20672520, 7873544},
  };
  for (const auto& c : cases)
    for (const bool recompute : {false, true}) {
      const double measured = static_cast<double>(recompute ? c.recompute_bytes : c.plain_bytes);
      EXPECT_NEAR(static_cast<double>(
                      activation_bytes(c.spec, {c.micro_batch, c.sequence_length, recompute})),
                  measured, 0.001 * measured)
          << c.spec.family << " " << c.spec.vocab_size << " recompute " << recompute;
    }
}

TEST(Activations, RecomputeCostsOneLayerInsteadOfAll) {
  const auto spec = llama2_7b();
  EXPECT_LT(activation_bytes(spec, {8, 4096, true}), activation_bytes(spec, {8, 4096, false}) / 8);
}

// GPT-2 small in five tiles. Whole, the two gradients of the embedding are the peak; in tiles it is
// the loss: saved inputs, states and their gradient, a tile's gradient and a slice of it, its
// logits.
TEST(Activations, TilesTakeTheVocabularyOutOfThem) {
  const auto spec = gpt2_small();
  EXPECT_NEAR(static_cast<double>(activation_bytes(spec, {1, 64, true})), 2.0 * 4 * 50257 * 768,
              1e6);
  EXPECT_NEAR(static_cast<double>(activation_bytes(spec, {1, 64, true, 50257 * 768 / 4})),
              4.0 * (10052 * 768 + 10052 * 64 + 64 * (12 * 768 + 2 * 768 + 770)) + (4 << 20), 1e4);
}

}  // namespace
}  // namespace hydrofoil::plan::activations_test
