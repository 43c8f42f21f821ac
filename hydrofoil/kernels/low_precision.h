// SPDX-License-Identifier: Apache-2.0
// A 16-bit copy of a parameter that an optimizer step writes in the same pass, past the caches
// where its memory is 32-byte aligned. Default: none.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/kernels/update_tiers.h"

namespace hydrofoil::kernels {

struct LowPrecisionCopy {
  std::span<uint16_t> bits;   // as many elements as the parameter, or empty
  DType type = DType::kBF16;  // kBF16 or kF16

  // std::logic_error when it cannot hold `count` elements.
  LowFormat format(size_t count) const {
    if (bits.empty()) return LowFormat::kNone;
    if (bits.size() != count) throw std::logic_error("low-precision copy: size differs from param");
    if (type == DType::kBF16) return LowFormat::kBF16;
    if (type == DType::kF16) return LowFormat::kF16;
    throw std::logic_error("low-precision copy: neither bf16 nor f16");
  }
};

}  // namespace hydrofoil::kernels
