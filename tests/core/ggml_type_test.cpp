// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/ggml_type.h"

#include <gtest/gtest.h>

namespace hydrofoil::ggml_type_test {
namespace {

// Ids, names and sizes as the Python package gguf lists them (GGML_QUANT_SIZES).
TEST(GgmlType, IsWhatTheFormatSays) {
  struct Row {
    uint32_t id;
    const char* name;
    uint32_t elements, bytes;
  };
  const Row rows[] = {{0, "F32", 1, 4},       {1, "F16", 1, 2},       {2, "Q4_0", 32, 18},
                      {3, "Q4_1", 32, 20},    {6, "Q5_0", 32, 22},    {7, "Q5_1", 32, 24},
                      {8, "Q8_0", 32, 34},    {10, "Q2_K", 256, 84},  {11, "Q3_K", 256, 110},
                      {12, "Q4_K", 256, 144}, {13, "Q5_K", 256, 176}, {14, "Q6_K", 256, 210},
                      {15, "Q8_K", 256, 292}, {20, "IQ4_NL", 32, 18}, {23, "IQ4_XS", 256, 136},
                      {24, "I8", 1, 1},       {25, "I16", 1, 2},      {26, "I32", 1, 4},
                      {27, "I64", 1, 8},      {28, "F64", 1, 8},      {30, "BF16", 1, 2}};
  for (const Row& row : rows) {
    const auto type = ggml_type_from_id(row.id);
    ASSERT_TRUE(type) << row.name;
    EXPECT_EQ(type, ggml_type_from_name(row.name));
    EXPECT_EQ(layout_of(*type).name, row.name);
    EXPECT_EQ(layout_of(*type).block_elements, row.elements) << row.name;
    EXPECT_EQ(layout_of(*type).block_bytes, row.bytes) << row.name;
  }
}

TEST(GgmlType, KnowsNothingElse) {
  for (const uint32_t id : {4u, 5u, 9u, 16u, 29u, 31u, 1000u}) EXPECT_FALSE(ggml_type_from_id(id));
  EXPECT_FALSE(ggml_type_from_name("IQ1_S"));
  EXPECT_TRUE(ggml_type_names().starts_with("F32, F16"));
}

}  // namespace
}  // namespace hydrofoil::ggml_type_test
