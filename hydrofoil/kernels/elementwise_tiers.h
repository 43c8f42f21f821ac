// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

HYDROFOIL_DECLARE_TIERS(void to_bf16(const float* from, uint16_t* to, size_t count);
                        void to_f16(const float* from, uint16_t* to, size_t count);
                        void from_bf16(const uint16_t* from, float* to, size_t count);
                        void from_f16(const uint16_t* from, float* to, size_t count);
                        void scale(float* data, size_t count, float factor);
                        void add(float* into, const float* from, size_t count);)

}  // namespace hydrofoil::kernels
