// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

struct RandomKey {
  uint32_t before, between;
};

HYDROFOIL_DECLARE_TIERS(
    // By chance: the random bits of an element are a function of the key and of its position,
    // which is `first` for the first.
    void to_bf16_by_chance(const float* from, uint16_t* to, size_t count, RandomKey key,
                           uint32_t first);
    void to_bf16(const float* from, uint16_t* to, size_t count);
    void to_f16(const float* from, uint16_t* to, size_t count);
    void from_bf16(const uint16_t* from, float* to, size_t count);
    void from_f16(const uint16_t* from, float* to, size_t count);
    void scale(float* data, size_t count, float factor);
    void add(float* into, const float* from, size_t count);)

}  // namespace hydrofoil::kernels
