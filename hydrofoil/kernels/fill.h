// SPDX-License-Identifier: Apache-2.0
// Plain passes over a flat buffer. Threaded, but for fill_nan.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace hydrofoil::kernels {

// Poison: all bits set is a NaN in every floating-point format.
inline void fill_nan(void* data, size_t bytes) {
  if (bytes != 0) std::memset(data, 0xff, bytes);
}

void scale(std::span<float> data, float factor);
// into += from. Equal sizes, else std::logic_error.
void add(std::span<float> into, std::span<const float> from);

}  // namespace hydrofoil::kernels
