// SPDX-License-Identifier: Apache-2.0
// Blocks of a GGUF tensor to fp32. The bits are those of the Python package gguf (and of
// llama.cpp's reference loops) on every tier; only the payload of a NaN may differ. Threaded.
#pragma once

#include <cstddef>
#include <span>

#include "hydrofoil/core/ggml_type.h"

namespace hydrofoil::kernels {

// False for the 64-bit and integer types, which are no weights.
bool can_dequantize(GgmlType type);

// values: as many elements as the blocks hold. F16 and BF16 must be aligned to 2 bytes;
// blocks may lie anywhere. std::logic_error for sizes that do not fit and types that are not
// possible.
void dequantize(GgmlType type, std::span<const std::byte> blocks, std::span<float> values);

}  // namespace hydrofoil::kernels
