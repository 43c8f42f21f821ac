// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

constexpr size_t kNormBlock = 256;  // elements; the slice granule of memory/segment_layout.h

HYDROFOIL_DECLARE_TIERS(
    // sums[b] = the sum of the squares of block b, in double and in a fixed order.
    void block_squares(const float* data, size_t blocks, double* sums);
    bool all_finite(const float* data, size_t count);)

}  // namespace hydrofoil::kernels
