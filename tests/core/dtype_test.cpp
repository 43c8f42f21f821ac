// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "hydrofoil/core/random.h"

namespace hydrofoil::dtype_test {
namespace {

// Oracle: of the two bf16 neighbours of a finite value the nearer one, of a tie the even one,
// in exact double arithmetic. The step past the largest finite value counts as 2^128.
uint16_t nearest_bf16(float value) {
  const auto low = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);  // towards zero
  const auto high = static_cast<uint16_t>(low + 1);
  const auto wide = [](uint16_t bits) {
    const double x = from_bf16(bits);
    return std::isinf(x) ? std::copysign(0x1.0p128, x) : x;
  };
  const double below = std::abs(value - wide(low)), above = std::abs(wide(high) - value);
  if (below == above) return (low & 1) == 0 ? low : high;
  return below < above ? low : high;
}

TEST(Bf16, EveryValueSurvivesTheWayToFloatAndBack) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = from_bf16(static_cast<uint16_t>(bits));
    if (std::isnan(value))
      ASSERT_TRUE(std::isnan(from_bf16(to_bf16(value)))) << std::hex << bits;
    else
      ASSERT_EQ(to_bf16(value), bits) << std::hex << bits;
  }
}

TEST(Bf16, RoundsToTheNearestAndTiesToEven) {
  const Philox random(1, RandomUse::kTest);
  for (uint64_t i = 0; i < 100003; ++i) {
    auto bits = random.block(i)[0];
    if (i % 3 == 0) bits = (bits & 0xffff0000) | 0x8000;  // ties are rare by chance
    const float value = std::bit_cast<float>(bits);
    if (!std::isfinite(value)) continue;
    ASSERT_EQ(to_bf16(value), nearest_bf16(value)) << std::hexfloat << value;
  }
}

TEST(Bf16, KeepsSpecialValues) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(to_bf16(-0.0f), 0x8000);
  EXPECT_EQ(to_bf16(kInf), 0x7f80);
  EXPECT_EQ(to_bf16(-kInf), 0xff80);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()), 0x7f80);  // rounds up to infinity
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::denorm_min()), 0);
  // A NaN whose upper half alone would read as infinity.
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(DType, NamesGoBothWaysAndSizesAreTheFormatsOwn) {
  for (const auto type : {DType::kF32, DType::kF64, DType::kBF16, DType::kF16, DType::kI64,
                          DType::kI32, DType::kI16, DType::kI8, DType::kU8, DType::kBool})
    EXPECT_EQ(dtype_from_name(name_of(type)), type);
  EXPECT_EQ(dtype_from_name("f32"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
  EXPECT_EQ(size_of(DType::kF64), sizeof(double));
  EXPECT_EQ(size_of(DType::kBF16), 2u);
  EXPECT_EQ(size_of(DType::kBool), 1u);
}

}  // namespace
}  // namespace hydrofoil::dtype_test
