// SPDX-License-Identifier: Apache-2.0
// Element types of GGUF files as data. A tensor's innermost dim is cut into blocks of a fixed
// number of elements, and each block takes a fixed number of bytes; a plain type has blocks of one
// element.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hydrofoil {

// The values are those of the file format.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kBF16 = 30,
};

struct GgmlLayout {
  GgmlType type = GgmlType::kF32;
  std::string_view name;        // "F32", "Q4_K"
  uint32_t block_elements = 1;  // 1, 32 or 256
  uint32_t block_bytes = 4;
};

const GgmlLayout& layout_of(GgmlType type);
std::optional<GgmlType> ggml_type_from_id(uint32_t id);
std::optional<GgmlType> ggml_type_from_name(std::string_view name);
// "F32, F16, ..", for messages.
std::string ggml_type_names();

}  // namespace hydrofoil
