// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace hydrofoil::random_test {
namespace {

using Words = std::array<uint32_t, 4>;

// The known answers published with Random123 (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, GivesTheKnownAnswersOfRandom123) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, ANumberDependsOnItsPositionAndNotOnWhoDrewBefore) {
  const Philox one(7, RandomUse::kTest, 3), other(7, RandomUse::kTest, 3);
  const uint64_t far = (uint64_t{1} << 40) + 17;
  const auto expected = one.block(far);
  for (uint64_t i = 0; i < 97; ++i) other.block(i);
  EXPECT_EQ(other.block(far), expected);
}

TEST(Philox, SeedUseAndStreamGiveUnrelatedSequences) {
  std::set<Words> seen;
  int sequences = 0;
  for (uint64_t seed : {0, 1, 2})
    for (const auto use : {RandomUse::kInit, RandomUse::kShuffle, RandomUse::kDropout})
      for (uint64_t stream : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
        seen.insert(Philox(seed, use, stream).block(0));
        ++sequences;
      }
  EXPECT_EQ(seen.size(), static_cast<size_t>(sequences));
}

TEST(Philox, UniformFillsTheUnitInterval) {
  constexpr int kDraws = 100003, kBins = 17;
  const Philox random(1, RandomUse::kTest);
  std::vector<int> bins(kBins);
  for (int i = 0; i < kDraws; ++i) {
    const double u = random.uniform(static_cast<uint64_t>(i));
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++bins[static_cast<size_t>(u * kBins)];
  }
  double chi2 = 0;
  const double expected = static_cast<double>(kDraws) / kBins;
  for (const int n : bins) chi2 += (n - expected) * (n - expected) / expected;
  EXPECT_LT(chi2, 39.3);  // 16 degrees of freedom, 0.999 quantile
}

TEST(Philox, BelowStaysBelowAndReachesEveryValue) {
  const Philox random(2, RandomUse::kTest);
  for (const uint64_t bound : {1, 2, 3, 17, 97}) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < 40 * bound; ++i) {
      const uint64_t value = random.below(bound, i);
      ASSERT_LT(value, bound);
      seen.insert(value);
    }
    EXPECT_EQ(seen.size(), bound);
  }
  EXPECT_GT(random.below(UINT64_MAX, 5), uint64_t{1} << 32);  // the high bits are used
}

TEST(Philox, NormalHasTheMomentsOfANormal) {
  constexpr int kDraws = 100003;
  const Philox random(3, RandomUse::kTest);
  double sum = 0, sum2 = 0, sum4 = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.normal(static_cast<uint64_t>(i));
    ASSERT_TRUE(std::isfinite(x));
    sum += x, sum2 += x * x, sum4 += x * x * x * x;
  }
  // Four standard errors: 1, sqrt(2) and sqrt(96) over sqrt(draws).
  const double unit = 4 / std::sqrt(kDraws);
  EXPECT_NEAR(sum / kDraws, 0, unit);
  EXPECT_NEAR(sum2 / kDraws, 1, std::sqrt(2.0) * unit);
  EXPECT_NEAR(sum4 / kDraws, 3, std::sqrt(96.0) * unit);
}

}  // namespace
}  // namespace hydrofoil::random_test
