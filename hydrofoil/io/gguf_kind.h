// SPDX-License-Identifier: Apache-2.0
// What the reader and the writer of GGUF share: fixed-width values as bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "hydrofoil/io/gguf.h"

namespace hydrofoil::io {

// A power of two, and enough for every plain type.
bool is_gguf_alignment(uint64_t value);

// Bytes of one value; 0 for strings and arrays, which have no fixed width.
uint32_t width_of(GgufKind kind);
// `bytes` are width_of(kind) many; not for strings and arrays.
GgufValue scalar_from_bytes(GgufKind kind, const std::byte* bytes);
void append_scalar(std::string& out, const GgufValue& value);

}  // namespace hydrofoil::io
