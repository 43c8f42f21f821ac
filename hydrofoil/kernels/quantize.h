// SPDX-License-Identifier: Apache-2.0
// Floats to the types of GGUF: F32, BF16, F16, and the block formats: Q8_0 as the Python package
// gguf rounds it; Q4_0, Q4_1, Q5_0 and Q5_1 with the scale of several that leaves the smallest
// squared error; Q4_K, Q5_K and Q6_K with scales chosen together (quantize_k.cpp).
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "hydrofoil/core/ggml_type.h"

namespace hydrofoil::kernels {

// From the fewest bits to the most.
inline constexpr std::array kQuantizeTypes = {GgmlType::kQ4_0, GgmlType::kQ4_K, GgmlType::kQ4_1,
                                              GgmlType::kQ5_0, GgmlType::kQ5_K, GgmlType::kQ5_1,
                                              GgmlType::kQ6_K, GgmlType::kQ8_0, GgmlType::kBF16,
                                              GgmlType::kF16,  GgmlType::kF32};

// values: whole blocks. out: as many bytes as they take. std::logic_error for other types.
void quantize(GgmlType type, std::span<const float> values, std::span<std::byte> out);

// Blocks of Q4_K as those of Q4_1, 8 for 1: the same codes, the products of two scales rounded to
// fp16.
void q4_k_to_q4_1(std::span<const std::byte> blocks, std::span<std::byte> out);

}  // namespace hydrofoil::kernels
