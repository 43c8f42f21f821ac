// SPDX-License-Identifier: Apache-2.0
// A view of floating-point numbers that rest in fp32, bf16 or fp16.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil {

struct Values {
  std::byte* data = nullptr;
  size_t count = 0;
  DType dtype = DType::kF32;

  bool empty() const { return count == 0; }
  bool is_wide() const { return dtype == DType::kF32; }
  std::span<std::byte> bytes() const { return {data, count * size_of(dtype)}; }
  Values part(size_t begin, size_t size) const {
    return {data + begin * size_of(dtype), size, dtype};
  }
  // Of fp32 only.
  std::span<float> floats() const { return {reinterpret_cast<float*>(data), count}; }
};

inline Values values_of(std::span<float> numbers) {
  return {reinterpret_cast<std::byte*>(numbers.data()), numbers.size(), DType::kF32};
}
// `dtype`: kBF16 or kF16.
inline Values values_of(std::span<uint16_t> bits, DType dtype) {
  return {reinterpret_cast<std::byte*>(bits.data()), bits.size(), dtype};
}

}  // namespace hydrofoil
