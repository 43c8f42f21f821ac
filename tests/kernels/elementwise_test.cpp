// SPDX-License-Identifier: Apache-2.0
// Conversions and plain passes. The 16-bit formats have 65536 values: all of them are tried.
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/kernels/fill.h"
#include "tests/kernels/tiers.h"

namespace hydrofoil::kernels::elementwise_test {
namespace {

using testing::expect_same_bits;
using testing::kLongestTail;
using testing::on_every_tier;
using testing::random_floats;

struct Format {
  std::string name;
  int exponent_bits, mantissa_bits;
  DType type;
};
const Format kFormats[] = {{"bf16", 8, 7, DType::kBF16}, {"f16", 5, 10, DType::kF16}};

// What the bits mean, by the definition of the format.
double meaning(const Format& format, uint32_t bits) {
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const uint32_t mantissa = bits & ((1u << format.mantissa_bits) - 1);
  const int exponent =
      static_cast<int>(bits >> format.mantissa_bits & ((1u << format.exponent_bits) - 1));
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << format.exponent_bits) - 1)
    return mantissa ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  const double fraction = std::ldexp(mantissa, -format.mantissa_bits);
  return exponent == 0 ? sign * std::ldexp(fraction, 1 - bias)
                       : sign * std::ldexp(1 + fraction, exponent - bias);
}

std::vector<uint16_t> all_codes() {
  std::vector<uint16_t> codes(65536);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint16_t>(i);
  return codes;
}

std::vector<uint16_t> narrowed(const Format& format, const std::vector<float>& values) {
  std::vector<uint16_t> out(values.size());
  narrow(values, out, format.type);
  return out;
}

TEST(Convert, WidensEveryCodeToItsMeaning) {
  on_every_tier([] {
    for (const Format& format : kFormats) {
      const std::vector<uint16_t> codes = all_codes();
      std::vector<float> values(codes.size());
      widen(codes, values, format.type);
      for (uint16_t code : codes) {
        const double want = meaning(format, code);
        if (std::isnan(want))
          ASSERT_TRUE(std::isnan(values[code])) << format.name << " " << code;
        else
          ASSERT_EQ(values[code], want) << format.name << " " << code;
        ASSERT_EQ(std::signbit(values[code]), code >= 0x8000);
      }
    }
  });
}

// Around every code: the value itself, the middle to the next and the floats beside it.
TEST(Convert, NarrowsToTheNearestAndTiesToEven) {
  on_every_tier([] {
    for (const Format& format : kFormats) {
      const uint32_t infinity = ((1u << format.exponent_bits) - 1) << format.mantissa_bits;
      std::vector<float> values;
      std::vector<uint16_t> want;
      for (uint32_t code = 0; code < infinity; ++code) {
        const double here = meaning(format, code);
        // Past the largest, the tie lies where the next code would have been.
        const double next =
            code + 1 < infinity ? meaning(format, code + 1) : 2 * here - meaning(format, code - 1);
        const float middle = static_cast<float>((here + next) / 2);
        for (const auto& [value, nearest] :
             {std::pair{static_cast<float>(here), code},
              std::pair{std::nextafter(middle, 0.0f), code}, std::pair{middle, code + (code & 1)},
              std::pair{std::nextafter(middle, INFINITY), code + 1}}) {
          values.insert(values.end(), {value, -value});
          want.insert(want.end(),
                      {static_cast<uint16_t>(nearest), static_cast<uint16_t>(nearest | 0x8000)});
        }
      }
      const std::vector<uint16_t> got = narrowed(format, values);
      for (size_t i = 0; i < got.size(); ++i)
        ASSERT_EQ(got[i], want[i]) << format.name << " of " << values[i];
    }
  });
}

TEST(Convert, KeepsInfinityAndNan) {
  on_every_tier([] {
    for (const Format& format : kFormats) {
      // A NaN whose payload lies below the bits that are kept.
      const float thin_nan = std::bit_cast<float>(0x7f800001u);
      const std::vector<uint16_t> got = narrowed(format, {INFINITY, -INFINITY, NAN, thin_nan});
      EXPECT_EQ(meaning(format, got[0]), INFINITY);
      EXPECT_EQ(meaning(format, got[1]), -INFINITY);
      EXPECT_TRUE(std::isnan(meaning(format, got[2])));
      EXPECT_TRUE(std::isnan(meaning(format, got[3])));
    }
  });
}

TEST(Convert, TakesEveryLengthAndWritesNothingBeyond) {
  on_every_tier([] {
    for (const Format& format : kFormats)
      for (size_t count = 0; count <= kLongestTail; ++count) {
        const std::vector<float> values = random_floats(count + 1, count);
        const std::span<const float> from = std::span(values).subspan(1);
        std::vector<uint16_t> codes(count + 3, 0xabcd);
        narrow(from, std::span(codes).subspan(1, count), format.type);
        EXPECT_EQ(codes[0], 0xabcd);
        EXPECT_EQ(codes[count + 1], 0xabcd);
        std::vector<float> back(count + 2, -7.0f);
        widen(std::span(codes).subspan(1, count), std::span(back).subspan(1, count), format.type);
        EXPECT_EQ(back[count + 1], -7.0f);
        for (size_t i = 0; i < count; ++i)
          ASSERT_NEAR(back[i + 1], from[i], std::abs(from[i]) / 255) << format.name;
      }
  });
}

TEST(Convert, RefusesOtherTypesAndSpansOfDifferentSizes) {
  const std::vector<float> values(3);
  std::vector<uint16_t> codes(2);
  EXPECT_THROW(narrow(values, codes, DType::kBF16), std::logic_error);
  codes.resize(3);
  EXPECT_THROW(narrow(values, codes, DType::kF32), std::logic_error);
}

TEST(Scale, MultipliesEveryElementOnce) {
  on_every_tier([] {
    for (size_t count : {0UL, 1UL, 17UL, 97UL, 129UL, 100003UL}) {
      std::vector<float> data = random_floats(count, 1), want = data;
      for (float& v : want) v *= 0.37f;
      scale(data, 0.37f);
      expect_same_bits(data, want);
    }
  });
}

TEST(Add, AccumulatesEveryElementOnce) {
  on_every_tier([] {
    for (size_t count : {0UL, 1UL, 17UL, 97UL, 129UL, 100003UL}) {
      std::vector<float> into = random_floats(count, 1), want = into;
      const std::vector<float> from = random_floats(count, 2);
      for (size_t i = 0; i < count; ++i) want[i] += from[i];
      add(into, from);
      expect_same_bits(into, want);
    }
    std::vector<float> two(2), three(3);
    EXPECT_THROW(add(two, three), std::logic_error);
  });
}

TEST(FillNan, PoisonsEveryFormat) {
  std::vector<float> data(17, 1.0f);
  fill_nan(data.data(), 16 * sizeof(float));
  for (size_t i = 0; i < 16; ++i) EXPECT_TRUE(std::isnan(data[i]));
  EXPECT_EQ(data[16], 1.0f);
  EXPECT_TRUE(std::isnan(from_bf16(0xffff)));
  EXPECT_TRUE(std::isnan(from_f16(0xffff)));
}

}  // namespace
}  // namespace hydrofoil::kernels::elementwise_test
