// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/attention.h"
#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

HYDROFOIL_DECLARE_TIERS(void attend_f32(const AttentionChunk& chunk, size_t rows, float* out);
                        void attend_bf16(const AttentionChunk& chunk, size_t rows, float* out);
                        void attend_i8(const AttentionChunk& chunk, size_t rows, float* out);)

}  // namespace hydrofoil::kernels
