// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels::norm_test {
namespace {

using testing::on_every_tier;
using testing::random_floats;
using testing::ScopedThreads;

SumOfSquares sum_of(std::span<const float> data) {
  SumOfSquares sum;
  sum.add(data);
  return sum;
}

std::vector<int64_t> limbs_of(const SumOfSquares& sum) {
  return {sum.limbs().begin(), sum.limbs().end()};
}

// Magnitudes from 1e-38 to 1e+38: in double, the order of the blocks would show.
std::vector<float> wide_range(size_t count, uint64_t seed) {
  std::vector<float> data = random_floats(count, seed);
  std::mt19937_64 engine(seed);
  for (size_t i = 0; i < count; i += kNormBlock) {
    const float scale = std::ldexp(1.0f, static_cast<int>(engine() % 240) - 120);
    for (size_t j = i; j < std::min(count, i + kNormBlock); ++j) data[j] *= scale;
  }
  return data;
}

TEST(SumOfSquares, IsTheSumOfTheSquares) {
  on_every_tier([] {
    // Small integers: every order gives the exact result.
    std::vector<float> data(4 * kNormBlock);
    int64_t want = 0;
    for (size_t i = 0; i < data.size(); ++i) {
      const int64_t v = static_cast<int64_t>(i * 7919 % 2003) - 1001;
      data[i] = static_cast<float>(v);
      want += v * v;
    }
    EXPECT_EQ(sum_of(data).value(), static_cast<double>(want));
    EXPECT_EQ(sum_of({}).value(), 0.0);
    EXPECT_EQ(sum_of(std::vector<float>(kNormBlock, 0.0f)).value(), 0.0);
  });
}

TEST(SumOfSquares, IsAsGoodAsLongDouble) {
  const std::vector<float> data = random_floats(1000 * kNormBlock, 1, 1e-3f);
  long double want = 0;
  for (float v : data) want += static_cast<long double>(v) * v;
  EXPECT_NEAR(sum_of(data).value(), static_cast<double>(want), 1e-15 * static_cast<double>(want));
}

TEST(SumOfSquares, HasTheSameLimbsOnEveryTier) {
  const std::vector<float> data = wide_range(97 * kNormBlock, 2);
  std::vector<int64_t> want;
  on_every_tier([&] {
    const std::vector<int64_t> got = limbs_of(sum_of(data));
    if (want.empty()) want = got;
    EXPECT_EQ(got, want);
  });
}

TEST(SumOfSquares, DoesNotDependOnRanksThreadsOrOrder) {
  constexpr size_t kBlocks = 1201;
  const std::vector<float> data = wide_range(kBlocks * kNormBlock, 3);
  const std::vector<int64_t> want = limbs_of(sum_of(data));
  const std::span<const float> all(data);
  for (size_t ranks : {2, 3, 4, 7}) {
    const ScopedThreads threads(static_cast<int>(ranks % 3 + 1));
    std::vector<int64_t> limbs(SumOfSquares::kLimbs);
    SumOfSquares merged;
    for (size_t r = ranks; r-- > 0;) {
      const size_t begin = kBlocks * r / ranks * kNormBlock;
      const size_t end = kBlocks * (r + 1) / ranks * kNormBlock;
      const SumOfSquares part = sum_of(all.subspan(begin, end - begin));
      merged.merge(part);
      // What an integer all-reduce does.
      for (size_t i = 0; i < limbs.size(); ++i) limbs[i] += part.limbs()[i];
    }
    EXPECT_EQ(limbs_of(merged), want) << ranks << " ranks";
    EXPECT_EQ(limbs_of(SumOfSquares::from_limbs(limbs)), want) << ranks << " ranks";
  }
}

TEST(SumOfSquares, IgnoresPaddingWithZeros) {
  std::vector<float> data = wide_range(10 * kNormBlock, 4);
  const std::vector<int64_t> want = limbs_of(sum_of(data));
  data.resize(17 * kNormBlock);
  EXPECT_EQ(limbs_of(sum_of(data)), want);
}

TEST(SumOfSquares, HoldsTheSmallestAndTheLargest) {
  on_every_tier([] {
    std::vector<float> data(2 * kNormBlock, 0.0f);
    data[0] = std::numeric_limits<float>::denorm_min();
    EXPECT_EQ(sum_of(data).value(), 0x1p-298);
    data.assign(2 * kNormBlock, std::numeric_limits<float>::max());
    const double largest = std::numeric_limits<float>::max();
    EXPECT_EQ(sum_of(data).value(), 512 * (largest * largest));
    // Far apart: the small one is kept, though no double shows it.
    data.assign(2 * kNormBlock, 0.0f);
    data[0] = 1e19f;
    const std::vector<int64_t> alone = limbs_of(sum_of(data));
    data[kNormBlock] = 1e-30f;
    EXPECT_NE(limbs_of(sum_of(data)), alone);
  });
}

TEST(SumOfSquares, RoundsOnce) {
  // 2^60 + 2^7 is half-way between two doubles; the tie goes to even, unless a bit far below says
  // up.
  std::vector<float> data(3 * kNormBlock, 0.0f);
  data[0] = 0x1p30f;
  data[kNormBlock] = 0x1p3f;      // 2^6
  data[kNormBlock + 1] = 0x1p3f;  // 2^6
  EXPECT_EQ(sum_of(data).value(), 0x1p60);
  data[2 * kNormBlock] = 0x1p-100f;
  EXPECT_EQ(sum_of(data).value(), 0x1p60 + 256);
}

TEST(SumOfSquares, CarriesNanAndInfThroughTheLimbs) {
  on_every_tier([] {
    std::vector<float> data(4 * kNormBlock, 1.0f);
    data[kNormBlock + 17] = -std::numeric_limits<float>::infinity();
    const SumOfSquares infinite = sum_of(data);
    EXPECT_EQ(infinite.value(), std::numeric_limits<double>::infinity());
    data[5] = std::numeric_limits<float>::quiet_NaN();
    const SumOfSquares nan = sum_of(data);
    EXPECT_TRUE(std::isnan(nan.value()));

    const SumOfSquares fine = sum_of(std::span(data).subspan(2 * kNormBlock));
    EXPECT_EQ(fine.value(), 2.0 * kNormBlock);
    std::vector<int64_t> limbs = limbs_of(fine);
    for (size_t i = 0; i < limbs.size(); ++i) limbs[i] += infinite.limbs()[i];
    EXPECT_EQ(SumOfSquares::from_limbs(limbs).value(), std::numeric_limits<double>::infinity());
    for (size_t i = 0; i < limbs.size(); ++i) limbs[i] += nan.limbs()[i];
    EXPECT_TRUE(std::isnan(SumOfSquares::from_limbs(limbs).value()));
  });
}

TEST(SumOfSquares, SumsTheLimbsOf4096RanksWithoutOverflow) {
  const SumOfSquares one = sum_of(std::vector<float>(kNormBlock, 0x1.fffffep126f));
  std::vector<int64_t> limbs = limbs_of(one);
  for (int64_t& limb : limbs) {
    ASSERT_GE(limb, 0);
    ASSERT_LT(limb, int64_t{1} << 32);
    limb *= 4096;
  }
  EXPECT_EQ(SumOfSquares::from_limbs(limbs).value(), 4096 * one.value());
}

TEST(SumOfSquares, RefusesPartsOfBlocksAndOfLimbs) {
  const std::vector<float> data(kNormBlock, 1.0f);
  EXPECT_THROW(sum_of(std::span(data).first(255)), std::logic_error);
  EXPECT_THROW(SumOfSquares::from_limbs(std::vector<int64_t>(3)), std::logic_error);
}

TEST(AllFinite, FindsOneBadElementAnywhere) {
  on_every_tier([] {
    for (size_t count = 0; count <= testing::kLongestTail; ++count) {
      std::vector<float> data(count + 1, std::numeric_limits<float>::max());
      data[count] = std::numeric_limits<float>::quiet_NaN();  // beyond the range
      const auto finite = [&] { return all_finite(std::span(data).first(count)); };
      ASSERT_TRUE(finite()) << count;
      for (size_t i = 0; i < count; ++i)
        for (float bad :
             {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
              std::numeric_limits<float>::quiet_NaN()}) {
          data[i] = bad;
          ASSERT_FALSE(finite()) << i << " of " << count;
          data[i] = std::numeric_limits<float>::denorm_min();
        }
    }
  });
}

TEST(AllFinite, LooksAtEveryThreadsPart) {
  const ScopedThreads three(3);
  std::vector<float> data(200001, 1.0f);
  EXPECT_TRUE(all_finite(data));
  for (size_t i : {0UL, 100000UL, 200000UL}) {
    data[i] = std::numeric_limits<float>::infinity();
    EXPECT_FALSE(all_finite(data));
    data[i] = 1.0f;
  }
}

}  // namespace
}  // namespace hydrofoil::kernels::norm_test
