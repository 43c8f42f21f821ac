// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/masking.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace hydrofoil::data::masking_test {
namespace {

constexpr int64_t kIgnore = -100, kMask = 4, kVocabulary = 1009, kSpecials = 5;

Masking masking(double probability = 0.15) {
  return {.vocab_size = kVocabulary,
          .mask_token = kMask,
          .is_special = [](int64_t id) { return id < kSpecials; },
          .probability = probability};
}

struct Masked {
  std::vector<int64_t> tokens, labels;
  bool operator==(const Masked&) const = default;
};

Masked mask(std::vector<int64_t> tokens, uint64_t seed, int64_t sample, double probability = 0.15) {
  Masked result{std::move(tokens), {}};
  result.labels.resize(result.tokens.size());
  mask_tokens(masking(probability), seed, sample, result.tokens, result.labels, kIgnore);
  return result;
}

std::vector<int64_t> text(size_t size) {
  std::vector<int64_t> tokens(size);
  for (size_t i = 0; i < size; ++i)
    tokens[i] = i % 17 == 0 ? 0 : kSpecials + static_cast<int64_t>(i * 31 % 1003);
  return tokens;
}

TEST(Masking, FollowsTheShares) {
  const auto original = text(200'003);
  const auto masked = mask(original, 3, 7);
  double chosen = 0, replaced = 0, kept = 0, random = 0, ordinary = 0;
  for (size_t i = 0; i < original.size(); ++i) {
    ordinary += original[i] >= kSpecials;
    if (masked.labels[i] == kIgnore) {
      ASSERT_EQ(masked.tokens[i], original[i]);
      continue;
    }
    ASSERT_EQ(masked.labels[i], original[i]);
    ASSERT_GE(original[i], kSpecials) << "a special token was chosen";
    ASSERT_LT(masked.tokens[i], kVocabulary);
    ++chosen;
    replaced += masked.tokens[i] == kMask;
    kept += masked.tokens[i] == original[i];
    random += masked.tokens[i] != kMask && masked.tokens[i] != original[i];
  }
  EXPECT_NEAR(chosen / ordinary, 0.15, 0.004);  // five standard deviations
  EXPECT_NEAR(replaced / chosen, 0.8, 0.012);
  EXPECT_NEAR(kept / chosen, 0.1, 0.009);
  EXPECT_NEAR(random / chosen, 0.1, 0.009);
}

TEST(Masking, DependsOnSeedSampleAndPositionOnly) {
  const auto whole = mask(text(97), 3, 7);
  EXPECT_EQ(whole, mask(text(97), 3, 7));
  EXPECT_NE(whole.labels, mask(text(97), 3, 8).labels);
  EXPECT_NE(whole.labels, mask(text(97), 4, 7).labels);
  const auto part = mask(text(50), 3, 7);
  EXPECT_TRUE(std::equal(part.labels.begin(), part.labels.end(), whole.labels.begin()));
}

TEST(Masking, ChoosesOneWhereThereIsOne) {
  for (int64_t sample = 0; sample < 20; ++sample) {
    const auto masked = mask({0, 10, 11, 12, 1}, 3, sample, 0);
    EXPECT_EQ(std::ranges::count(masked.labels, kIgnore), 4);
  }
  EXPECT_EQ(std::ranges::count(mask({0, 1, 2}, 3, 1).labels, kIgnore), 3);
}

}  // namespace
}  // namespace hydrofoil::data::masking_test
