// SPDX-License-Identifier: Apache-2.0
// Blocks against those of the Python package gguf (tests/kernels/make_golden.py).
#include "hydrofoil/kernels/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
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

TEST(Quantize, FourBitsAreCloserThanThePackages) {
  const auto golden = test::read_golden(GOLDEN_FOLDER "/quantize.safetensors");
  const auto normal = testing::random_floats(32 * 1000, 17);
  for (const auto type : {GgmlType::kQ4_0, GgmlType::kQ4_1}) {
    const auto& package = golden.at(std::string(layout_of(type).name));
    const auto values = golden.at("values").values<float>();
    std::vector<std::byte> got(package.bytes.size());
    quantize(type, values, got);
    EXPECT_LT(squared_error(type, got, values), squared_error(type, package.bytes, values));
    // What has been rounded once is met again, but for the rounding of scales to fp16.
    std::vector<std::byte> once(1000 * layout_of(type).block_bytes), twice(once.size());
    std::vector<float> rounded(normal.size());
    quantize(type, normal, once);
    dequantize(type, once, rounded);
    quantize(type, rounded, twice);
    EXPECT_LT(squared_error(type, twice, rounded), 1e-6 * squared_error(type, once, normal));
  }
}

TEST(Quantize, BlocksOfOneNumber) {
  for (const auto type : {GgmlType::kQ8_0, GgmlType::kQ4_0, GgmlType::kQ4_1})
    for (const float value : {0.0f, 1.0f, -2.0f}) {
      const std::vector<float> values(32, value);
      std::vector<std::byte> block(layout_of(type).block_bytes);
      quantize(type, values, block);
      EXPECT_NEAR(squared_error(type, block, values), 0, 1e-4)
          << layout_of(type).name << ' ' << value;
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
  EXPECT_THROW(quantize(GgmlType::kQ6_K, std::vector<float>(256), bytes), std::logic_error);
  EXPECT_THROW(quantize(GgmlType::kQ8_0, std::vector<float>(33), bytes), std::logic_error);
}

}  // namespace
}  // namespace hydrofoil::kernels::quantize_test
