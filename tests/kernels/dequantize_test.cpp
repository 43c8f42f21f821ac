// SPDX-License-Identifier: Apache-2.0
// Every block format against the Python package gguf (tests/kernels/make_golden.py), bit for bit.
#include "hydrofoil/kernels/dequantize.h"

#include <gtest/gtest.h>

#include <cstring>
#include <stdexcept>

#include "hydrofoil/core/dtype.h"
#include "tests/kernels/tiers.h"
#include "tests/support/golden.h"

namespace hydrofoil::kernels::dequantize_test {
namespace {

using testing::expect_same_bits;
using testing::on_every_tier;
using testing::ScopedThreads;

const char* const kGolden = GOLDEN_FOLDER "/dequantize.safetensors";

TEST(Dequantize, EqualsThePackageForRandomBlocksAndExtremeScales) {
  const auto golden = test::read_golden(kGolden);
  on_every_tier([&] {
    size_t formats = 0;
    for (const auto& [name, blocks] : golden) {
      if (name.ends_with(".values")) continue;
      const auto type = ggml_type_from_name(name);
      ASSERT_TRUE(type) << name;
      const auto want = golden.at(name + ".values").values<float>();
      std::vector<float> got(want.size(), -1);
      dequantize(*type, blocks.bytes, got);
      expect_same_bits(got, want, name);
      ++formats;
    }
    EXPECT_EQ(formats, 12u);
  });
}

TEST(Dequantize, CutsLargeTensorsAtBlocksForAnyNumberOfThreads) {
  const auto golden = test::read_golden(kGolden);
  for (const char* name : {"Q4_1", "Q6_K"}) {
    const auto& blocks = golden.at(name).bytes;
    const auto want = golden.at(std::string(name) + ".values").values<float>();
    constexpr size_t kRepeats = 97;  // above the grain of threads
    std::vector<std::byte> many;
    for (size_t i = 0; i < kRepeats; ++i) many.insert(many.end(), blocks.begin(), blocks.end());
    for (const int threads : {1, 2, 3}) {
      const ScopedThreads scope(threads);
      std::vector<float> got(want.size() * kRepeats);
      dequantize(*ggml_type_from_name(name), many, got);
      for (size_t i = 0; i < kRepeats; ++i)
        expect_same_bits(std::span(got).subspan(i * want.size(), want.size()), want, name);
    }
  }
}

// The package has no Q8_K: d * q, by the format's definition.
TEST(Dequantize, Q8KIsItsScaleTimesSignedBytes) {
  std::vector<std::byte> block(292, std::byte{0x55});
  const float scale = -0.37f;
  std::memcpy(block.data(), &scale, sizeof scale);
  for (size_t i = 0; i < 256; ++i) block[4 + i] = static_cast<std::byte>(i);
  std::vector<float> want(256), got(256);
  for (size_t i = 0; i < 256; ++i)
    want[i] = scale * static_cast<float>(i < 128 ? static_cast<int>(i) : static_cast<int>(i) - 256);
  on_every_tier([&] {
    dequantize(GgmlType::kQ8_K, block, got);
    expect_same_bits(got, want);
  });
}

TEST(Dequantize, WidensThePlainTypes) {
  const std::vector<uint16_t> bits = {0x3c00, 0xbc01, 0x0001, 0x7bff, 0x8000, 0x7c00, 0x0400};
  std::vector<float> half(bits.size()), brain(bits.size()), same(bits.size());
  dequantize(GgmlType::kF16, std::as_bytes(std::span(bits)), half);
  dequantize(GgmlType::kBF16, std::as_bytes(std::span(bits)), brain);
  dequantize(GgmlType::kF32, std::as_bytes(std::span(half)), same);
  expect_same_bits(same, half);
  for (size_t i = 0; i < bits.size(); ++i) {
    EXPECT_EQ(half[i], from_f16(bits[i]));
    EXPECT_EQ(brain[i], from_bf16(bits[i]));
  }
}

TEST(Dequantize, RefusesWhatDoesNotFit) {
  std::vector<std::byte> bytes(34 * 2);
  std::vector<float> values(64);
  EXPECT_NO_THROW(dequantize(GgmlType::kQ8_0, bytes, values));
  EXPECT_NO_THROW(dequantize(GgmlType::kF32, {}, {}));
  EXPECT_THROW(dequantize(GgmlType::kQ8_0, bytes, std::span(values).first(32)), std::logic_error);
  EXPECT_THROW(dequantize(GgmlType::kQ8_0, bytes, std::span(values).first(63)), std::logic_error);
  EXPECT_THROW(dequantize(GgmlType::kI32, std::span(bytes).first(64), std::span(values).first(16)),
               std::logic_error);
  EXPECT_FALSE(can_dequantize(GgmlType::kF64));
  EXPECT_TRUE(can_dequantize(GgmlType::kIQ4_XS));
}

}  // namespace
}  // namespace hydrofoil::kernels::dequantize_test
