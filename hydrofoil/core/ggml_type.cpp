// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/ggml_type.h"

#include <array>
#include <stdexcept>

namespace hydrofoil {
namespace {

constexpr std::array<GgmlLayout, 21> kLayouts{{
    {GgmlType::kF32, "F32", 1, 4},
    {GgmlType::kF16, "F16", 1, 2},
    {GgmlType::kBF16, "BF16", 1, 2},
    {GgmlType::kF64, "F64", 1, 8},
    {GgmlType::kI8, "I8", 1, 1},
    {GgmlType::kI16, "I16", 1, 2},
    {GgmlType::kI32, "I32", 1, 4},
    {GgmlType::kI64, "I64", 1, 8},
    {GgmlType::kQ4_0, "Q4_0", 32, 2 + 16},
    {GgmlType::kQ4_1, "Q4_1", 32, 4 + 16},
    {GgmlType::kQ5_0, "Q5_0", 32, 2 + 4 + 16},
    {GgmlType::kQ5_1, "Q5_1", 32, 4 + 4 + 16},
    {GgmlType::kQ8_0, "Q8_0", 32, 2 + 32},
    {GgmlType::kQ2_K, "Q2_K", 256, 16 + 64 + 4},
    {GgmlType::kQ3_K, "Q3_K", 256, 32 + 64 + 12 + 2},
    {GgmlType::kQ4_K, "Q4_K", 256, 4 + 12 + 128},
    {GgmlType::kQ5_K, "Q5_K", 256, 4 + 12 + 32 + 128},
    {GgmlType::kQ6_K, "Q6_K", 256, 128 + 64 + 16 + 2},
    {GgmlType::kQ8_K, "Q8_K", 256, 4 + 256 + 32},
    {GgmlType::kIQ4_NL, "IQ4_NL", 32, 2 + 16},
    {GgmlType::kIQ4_XS, "IQ4_XS", 256, 2 + 2 + 4 + 128},
}};

}  // namespace

const GgmlLayout& layout_of(GgmlType type) {
  for (const GgmlLayout& layout : kLayouts)
    if (layout.type == type) return layout;
  throw std::logic_error("layout_of: no such type");
}

std::optional<GgmlType> ggml_type_from_id(uint32_t id) {
  for (const GgmlLayout& layout : kLayouts)
    if (static_cast<uint32_t>(layout.type) == id) return layout.type;
  return std::nullopt;
}

std::optional<GgmlType> ggml_type_from_name(std::string_view name) {
  for (const GgmlLayout& layout : kLayouts)
    if (layout.name == name) return layout.type;
  return std::nullopt;
}

std::string ggml_type_names() {
  std::string names;
  for (const GgmlLayout& layout : kLayouts)
    names += (names.empty() ? "" : ", ") + std::string(layout.name);
  return names;
}

}  // namespace hydrofoil
