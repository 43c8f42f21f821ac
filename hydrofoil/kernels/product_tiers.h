// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

// Rows of the first token and of those that follow; sums and scales once a block of 32 columns.
struct ProductInput {
  const float* floats;
  const int8_t* codes;
  const float* scales;
  const int32_t* sums;
};
// out[count][32] = a tile of 32 rows times `count` tokens.
using Product = void (*)(const uint8_t* tile, size_t columns, const ProductInput& x, size_t count,
                         float* out);

HYDROFOIL_DECLARE_TIERS_WITH_VNNI(void product_f32(const uint8_t* tile, size_t columns,
                                                   const ProductInput& x, size_t count, float* out);
                                  void product_bf16(const uint8_t* tile, size_t columns,
                                                    const ProductInput& x, size_t count,
                                                    float* out);
                                  void product_q8(const uint8_t* tile, size_t columns,
                                                  const ProductInput& x, size_t count, float* out);
                                  void product_q4(const uint8_t* tile, size_t columns,
                                                  const ProductInput& x, size_t count, float* out);
                                  void product_q4_min(const uint8_t* tile, size_t columns,
                                                      const ProductInput& x, size_t count,
                                                      float* out);
                                  void quantize_blocks(const float* x, size_t blocks, int8_t* codes,
                                                       float* scales, int32_t* sums);)

}  // namespace hydrofoil::kernels
