// SPDX-License-Identifier: Apache-2.0
// Blocks against those of the Python package gguf (tests/kernels/make_golden.py), byte for byte.
#include "hydrofoil/kernels/quantize.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "hydrofoil/kernels/dequantize.h"
#include "tests/kernels/tiers.h"
#include "tests/support/golden.h"

namespace hydrofoil::kernels {
namespace {

TEST(Quantize, EqualsThePackage) {
  const auto golden = test::read_golden(GOLDEN_FOLDER "/quantize.safetensors");
  const auto values = golden.at("values").values<float>();
  for (const char* name : {"Q8_0", "Q4_0", "Q4_1"}) {
    const auto& want = golden.at(name).bytes;
    std::vector<std::byte> got(want.size());
    quantize(*ggml_type_from_name(name), values, got);
    for (size_t i = 0; i < want.size(); ++i) ASSERT_EQ(got[i], want[i]) << name << ", byte " << i;
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

TEST(Quantize, RefusesOtherTypesAndSizesThatDoNotMatch) {
  std::vector<std::byte> bytes(34);
  EXPECT_THROW(quantize(GgmlType::kQ6_K, std::vector<float>(256), bytes), std::logic_error);
  EXPECT_THROW(quantize(GgmlType::kQ8_0, std::vector<float>(33), bytes), std::logic_error);
}

}  // namespace
}  // namespace hydrofoil::kernels
