// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

// Each: `count` blocks to their elements.
using Dequantize = void (*)(const uint8_t* blocks, size_t count, float* values);

HYDROFOIL_DECLARE_TIERS(void dequantize_q4_0(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_q4_1(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_q5_0(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_q5_1(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_q8_0(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_q2_k(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_q3_k(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_q4_k(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_q5_k(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_q6_k(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_q8_k(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_iq4_nl(const uint8_t* blocks, size_t count, float* values);
                        void dequantize_iq4_xs(const uint8_t* blocks, size_t count, float* values);)

}  // namespace hydrofoil::kernels
