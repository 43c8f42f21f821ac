// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

HYDROFOIL_DECLARE_TIERS(float largest_f32(const float* x, size_t count);
                        float largest_bf16(const uint16_t* x, size_t count);
                        float total_f32(const float* x, size_t count, float shift);
                        float total_bf16(const uint16_t* x, size_t count, float shift);
                        void shares_f32(float* x, size_t count, float shift, float total);
                        void shares_bf16(uint16_t* x, size_t count, float shift, float total);)

}  // namespace hydrofoil::kernels
