// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/softmax.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels::softmax_test {
namespace {

using testing::expect_same_bits;
using testing::kLongestTail;
using testing::on_every_tier;
using testing::random_floats;

constexpr DType kTypes[] = {DType::kF32, DType::kBF16};

// A row of either type, and a number after it that must stay.
class Row {
 public:
  Row(std::vector<float> values, DType dtype) : count_(values.size()), dtype_(dtype) {
    values.push_back(kGuard);
    floats_ = values;
    for (float v : values) halves_.push_back(to_bf16(v));
  }
  LogitRow logits() {
    return {dtype_ == DType::kF32 ? static_cast<void*>(floats_.data()) : halves_.data(), count_,
            dtype_};
  }
  std::vector<float> values() {
    const LogitRow row = logits();
    EXPECT_EQ(row[count_], kGuard);
    std::vector<float> out;
    for (size_t i = 0; i < count_; ++i) out.push_back(row[i]);
    return out;
  }

 private:
  static constexpr float kGuard = 77;
  size_t count_;
  DType dtype_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

TEST(Softmax, IsThatOfDoubleForEveryLength) {
  for (const DType dtype : kTypes)
    for (size_t count = 1; count <= kLongestTail; ++count) {
      SCOPED_TRACE(count);
      const auto given = Row(random_floats(count, count, 5), dtype).values();
      const float top = *std::max_element(given.begin(), given.end());
      double total = 0;
      for (float v : given) total += std::exp(static_cast<double>(v) - top);
      on_every_tier([&] {
        Row row(given, dtype);
        EXPECT_EQ(largest(row.logits()), top);
        const float sum = exponentials(row.logits(), top);
        EXPECT_NEAR(sum / total, 1, 1e-6);
        softmax(row.logits(), top, sum);
        const auto shares = row.values();
        for (size_t i = 0; i < count; ++i) {
          const double want = std::exp(static_cast<double>(given[i]) - top) / total;
          EXPECT_NEAR(shares[i], want, (dtype == DType::kF32 ? 4e-6 : 1.0 / 256) * want) << i;
        }
      });
    }
}

TEST(Softmax, HasTheSameBitsOnEveryTier) {
  for (const DType dtype : kTypes) {
    const auto given = random_floats(50257, 3, 4);
    const auto shares = [&] {
      Row row(given, dtype);
      const float top = largest(row.logits());
      softmax(row.logits(), top, exponentials(row.logits(), top));
      return row.values();
    };
    std::vector<float> first;
    {
      const ScopedIsa scope(Isa::kScalar);
      first = shares();
    }
    on_every_tier([&] { expect_same_bits(shares(), first); });
  }
}

// 2^24 equal numbers would add up to no more than 2^24 one by one.
TEST(Softmax, LosesNothingOfLongSums) {
  constexpr size_t kCount = (size_t{1} << 24) + 4096;
  std::vector<uint16_t> same(kCount, to_bf16(3));
  EXPECT_NEAR(exponentials({same.data(), kCount, DType::kBF16}, 3) / kCount, 1, 1e-6);
}

TEST(Softmax, TakesInfinitiesAndLargeNumbers) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const DType dtype : kTypes)
    on_every_tier([&] {
      Row row({-kInfinity, 1e5f, 1e5f, -1e30f}, dtype);
      const float top = largest(row.logits());
      EXPECT_EQ(exponentials(row.logits(), top), 2);
      softmax(row.logits(), top, 2);
      EXPECT_EQ(row.values(), (std::vector<float>{0, 0.5, 0.5, 0}));
    });
}

TEST(Softmax, ANaNIsNotLost) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const DType dtype : kTypes)
    for (const size_t place : {0, 5, 20, 36})
      on_every_tier([&] {
        auto values = random_floats(37, 1);
        values[place] = nan;
        Row row(values, dtype);
        EXPECT_TRUE(std::isnan(exponentials(row.logits(), largest(row.logits()))));
        softmax(row.logits(), 3, 1);
        EXPECT_TRUE(std::isnan(row.values()[place]));
      });
}

}  // namespace
}  // namespace hydrofoil::kernels::softmax_test
