// SPDX-License-Identifier: Apache-2.0
// Between fp32 and the 16-bit formats, to nearest even; a NaN stays a NaN. Threaded. Spans of equal
// size that do not overlap, and a type of kBF16 or kF16; else std::logic_error.
#pragma once

#include <cstdint>
#include <span>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::kernels {

void narrow(std::span<const float> from, std::span<uint16_t> to, DType type);
void widen(std::span<const uint16_t> from, std::span<float> to, DType type);

}  // namespace hydrofoil::kernels
