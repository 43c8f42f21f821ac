// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

enum class Reduction : uint8_t { kSum, kMax, kMin };
enum class ReduceLane : uint8_t { kF32, kF64, kBF16, kF16, kI64, kI32, kI16, kI8, kU8 };

HYDROFOIL_DECLARE_TIERS(
    // sources: at least one. Contract in reduce.h.
    void reduce(void* out, const void* const* sources, size_t source_count, size_t count,
                ReduceLane lane, Reduction op, bool stream);
    void copy_stream(void* to, const void* from, size_t bytes);)

}  // namespace hydrofoil::kernels
