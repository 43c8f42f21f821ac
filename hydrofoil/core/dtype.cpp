// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/dtype.h"

#include <array>
#include <utility>

namespace hydrofoil {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 10> kNames{{{DType::kF32, "F32"},
                                                                     {DType::kF64, "F64"},
                                                                     {DType::kBF16, "BF16"},
                                                                     {DType::kF16, "F16"},
                                                                     {DType::kI64, "I64"},
                                                                     {DType::kI32, "I32"},
                                                                     {DType::kI16, "I16"},
                                                                     {DType::kI8, "I8"},
                                                                     {DType::kU8, "U8"},
                                                                     {DType::kBool, "BOOL"}}};

}  // namespace

std::string_view name_of(DType t) {
  for (const auto& [type, name] : kNames)
    if (type == t) return name;
  return "?";
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const auto& [type, known] : kNames)
    if (known == name) return type;
  return std::nullopt;
}

}  // namespace hydrofoil
