// SPDX-License-Identifier: Apache-2.0
// Blocks against those of the Python package gguf (tests/kernels/make_golden.py).
#include "hydrofoil/kernels/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <span>
#include <stdexcept>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/kernels/dequantize.h"
#include "tests/kernels/tiers.h"
#include "tests/support/golden.h"

namespace hydrofoil::kernels::quantize_test {
namespace {

TEST(Quantize, EqualsThePackage) {
  const auto golden = test::read_golden(GOLDEN_FOLDER "/quantize.safetensors");
  const auto values = golden.at("values").values<float>();
  const auto& want = golden.at("Q8_0").bytes;
  std::vector<std::byte> got(want.size());
  quantize(GgmlType::kQ8_0, values, got);
  for (size_t i = 0; i < want.size(); ++i) ASSERT_EQ(got[i], want[i]) << "byte " << i;
}

double squared_error(GgmlType type, std::span<const std::byte> blocks,
                     std::span<const float> values) {
  std::vector<float> back(values.size());
  dequantize(type, blocks, back);
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += std::pow(double{back[i]} - values[i], 2);
  return sum;
}

TEST(Quantize, FourAndFiveBitsAreCloserThanThePackages) {
  const auto golden = test::read_golden(GOLDEN_FOLDER "/quantize.safetensors");
  const auto normal = testing::random_floats(32 * 1000, 17);
  for (const auto type : {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ5_1}) {
    SCOPED_TRACE(std::string(layout_of(type).name));
    const auto& package = golden.at(std::string(layout_of(type).name)).bytes;
    const auto all = golden.at("values").values<float>();
    std::vector<std::byte> made(package.size());
    quantize(type, all, made);
    // Behind row 4: beside its 1e4 all other errors are less than a scale's rounding to fp16.
    const std::span<const float> values(all);
    const std::span<const std::byte> got(made), theirs(package);
    const size_t skipped = 5 * layout_of(type).block_bytes;
    EXPECT_LT(squared_error(type, got.subspan(skipped), values.subspan(5 * 32)),
              squared_error(type, theirs.subspan(skipped), values.subspan(5 * 32)));
    // What has been rounded once is met again, but for the rounding of scales to fp16.
    std::vector<std::byte> once(1000 * layout_of(type).block_bytes), twice(once.size());
    std::vector<float> rounded(normal.size());
    quantize(type, normal, once);
    dequantize(type, once, rounded);
    quantize(type, rounded, twice);
    EXPECT_LT(squared_error(type, twice, rounded), 1e-6 * squared_error(type, once, normal));
  }
}

constexpr GgmlType kLargeBlocks[] = {GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K};

// What llama.cpp's reference quantisers leave of the same numbers (make_golden.py --ggml).
TEST(Quantize, LargeBlocksAreCloserThanLlamaCpps) {
  const auto golden = test::read_golden(GOLDEN_FOLDER "/quantize_k.safetensors");
  for (const char* kind : {"normal", "heavy", "rows"}) {
    const auto values = golden.at(kind).values<float>();
    for (const auto type : kLargeBlocks) {
      const std::string name(layout_of(type).name);
      const auto& blocks = golden.at(name + "." + kind).bytes;
      std::vector<std::byte> got(blocks.size());
      quantize(type, values, got);
      EXPECT_LT(squared_error(type, got, values), 0.97 * squared_error(type, blocks, values))
          << name << ' ' << kind;
    }
  }
}

// Every group between its extremes, in units of 1/63 (Q6_K: 1/127) of the largest, all to nearest.
std::vector<float> rounded_plainly(GgmlType type, std::vector<float> values) {
  const bool symmetric = type == GgmlType::kQ6_K;
  const size_t group = symmetric ? 16 : 32;
  const float steps = type == GgmlType::kQ4_K ? 15 : 31, units = symmetric ? 127 : 63;
  for (size_t block = 0; block < values.size(); block += 256) {
    std::vector<float> scales, lows;
    for (size_t g = block; g < block + 256; g += group) {
      const auto [low, high] = std::minmax_element(&values[g], &values[g] + group);
      lows.push_back(symmetric ? 0 : std::max(0.0f, -*low));
      scales.push_back((symmetric ? std::max(*high, -*low) : *high + lows.back()) / steps);
    }
    const float scale = from_f16(to_f16(*std::ranges::max_element(scales) / units));
    const float low = from_f16(to_f16(*std::ranges::max_element(lows) / units));
    for (size_t i = block; i < block + 256; ++i) {
      const size_t g = (i - block) / group;
      const float step = scale * std::round(scales[g] / scale);
      const float below = symmetric ? 0 : low * std::round(lows[g] / low);
      const float code =
          std::clamp(std::round((values[i] + below) / step), symmetric ? -steps - 1 : 0.0f, steps);
      values[i] = step * code - below;
    }
  }
  return values;
}

// Root mean square of the error as a share of that of the numbers.
struct Losses {
  double ours = 0, plain = 0;
};
Losses losses(GgmlType type, const std::vector<float>& values) {
  const auto& layout = layout_of(type);
  std::vector<std::byte> blocks(values.size() / layout.block_elements * layout.block_bytes);
  quantize(type, values, blocks);
  const auto plain = rounded_plainly(type, values);
  double of_plain = 0, all = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    of_plain += std::pow(double{plain[i]} - values[i], 2);
    all += std::pow(double{values[i]}, 2);
  }
  return {std::sqrt(squared_error(type, blocks, values) / all), std::sqrt(of_plain / all)};
}

// Student's t with 4 degrees of freedom: tails as weights of trained models have them.
std::vector<float> heavy_tails(size_t count, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::student_t_distribution<float> draw(4);
  std::vector<float> values(count);
  for (float& value : values) value = 0.02f * draw(engine);
  return values;
}

TEST(Quantize, LargeBlocksLoseLessThanPlainRounding) {
  constexpr size_t kCount = 256 * 500;
  struct Case {
    GgmlType type;
    double normal, heavy;  // at most
  };
  for (const auto& [type, normal, heavy] : {Case{GgmlType::kQ4_K, 0.071, 0.089},
                                            {GgmlType::kQ5_K, 0.035, 0.044},
                                            {GgmlType::kQ6_K, 0.017, 0.023}}) {
    SCOPED_TRACE(std::string(layout_of(type).name));
    const auto of_normal = losses(type, testing::random_floats(kCount, 17, 0.02f));
    EXPECT_LT(of_normal.ours, normal);
    EXPECT_LT(of_normal.ours, 0.93 * of_normal.plain);
    const auto of_heavy = losses(type, heavy_tails(kCount, 18));
    EXPECT_LT(of_heavy.ours, heavy);
    EXPECT_LT(of_heavy.ours, 0.93 * of_heavy.plain);
  }
}

TEST(Quantize, BlocksOfOneNumber) {
  for (const auto type : kQuantizeTypes)
    for (const float value : {0.0f, 1.0f, -2.0f}) {
      const auto& layout = layout_of(type);
      const std::vector<float> values(layout.block_elements, value);
      std::vector<std::byte> block(layout.block_bytes);
      quantize(type, values, block);
      EXPECT_LE(squared_error(type, block, values) / static_cast<double>(values.size()),
                std::pow(value * 0x1p-11, 2))
          << layout.name << ' ' << value;
    }
}

// One number among zeros, the only one of its sign, or so large that all others vanish beside it.
TEST(Quantize, LargeBlocksKeepWhatStandsOut) {
  for (const auto type : kLargeBlocks)
    for (const float value : {3.0f, -3.0f, 3e4f, -3e4f})
      for (const size_t at : {0u, 15u, 16u, 100u, 255u}) {
        std::vector<float> values(256, 0), back(256);
        values[at] = value;
        std::vector<std::byte> block(layout_of(type).block_bytes);
        quantize(type, values, block);
        dequantize(type, block, back);
        for (size_t i = 0; i < 256; ++i)
          EXPECT_NEAR(back[i], values[i], std::abs(value) * 0x1p-10f) << layout_of(type).name << i;
      }
}

// Such weights are refused where files are written; whatever comes of them here, nothing breaks.
TEST(Quantize, NumbersThatAreNoneStayInTheirBlock) {
  for (const auto type : kLargeBlocks)
    for (const float value : {std::nanf(""), HUGE_VALF, -HUGE_VALF, 3e38f, 1e-40f}) {
      const auto good = testing::random_floats(256, 3);
      std::vector<float> values(good);
      values.insert(values.end(), good.begin(), good.end());
      values[300] = value;
      const size_t bytes = layout_of(type).block_bytes;
      std::vector<std::byte> blocks(2 * bytes), alone(bytes);
      quantize(type, values, blocks);
      quantize(type, good, alone);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), blocks.begin()));
    }
}

TEST(Quantize, PlainTypesComeBackAsTheyWere) {
  const auto values = testing::random_floats(64, 3);
  for (const auto type : {GgmlType::kF32, GgmlType::kBF16, GgmlType::kF16}) {
    std::vector<std::byte> bytes(64 * layout_of(type).block_bytes), again(bytes.size());
    std::vector<float> back(64);
    quantize(type, values, bytes);
    dequantize(type, bytes, back);
    quantize(type, back, again);
    EXPECT_EQ(again, bytes);
  }
}

// Any codes and scales: values differ by the rounding of a block's scale and minimum to fp16.
TEST(Quantize, TurnsQ4KIntoQ4OneWithTheSameCodes) {
  constexpr size_t kBlocks = 50, kValues = kBlocks * 256;
  std::mt19937_64 engine(5);
  std::vector<std::byte> blocks(kBlocks * 144), got(kBlocks * 8 * 20);
  for (auto& byte : blocks) byte = static_cast<std::byte>(engine());
  for (size_t b = 0; b < kBlocks; ++b)
    for (const size_t field : {0u, 2u}) {
      const uint16_t half = to_f16(0.001f * static_cast<float>(b + field + 1));
      std::memcpy(blocks.data() + b * 144 + field, &half, 2);
    }
  q4_k_to_q4_1(blocks, got);
  std::vector<float> want(kValues), values(kValues);
  dequantize(GgmlType::kQ4_K, blocks, want);
  dequantize(GgmlType::kQ4_1, got, values);
  for (size_t i = 0; i < kValues; ++i) {
    const float unit = 0.001f * static_cast<float>(i / 256 + 3) * 63;  // the largest scale, minimum
    ASSERT_NEAR(values[i], want[i], unit * 16 * 0x1p-11f) << i;
  }
  EXPECT_THROW(q4_k_to_q4_1(blocks, std::span(got).first(20)), std::logic_error);
}

TEST(Quantize, RefusesOtherTypesAndSizesThatDoNotMatch) {
  std::vector<std::byte> bytes(34);
  EXPECT_THROW(quantize(GgmlType::kQ3_K, std::vector<float>(256), bytes), std::logic_error);
  EXPECT_THROW(quantize(GgmlType::kQ6_K, std::vector<float>(128), bytes), std::logic_error);
  EXPECT_THROW(quantize(GgmlType::kQ8_0, std::vector<float>(33), bytes), std::logic_error);
}

}  // namespace
}  // namespace hydrofoil::kernels::quantize_test
