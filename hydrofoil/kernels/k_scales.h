// SPDX-License-Identifier: Apache-2.0
// What the formats Q4_K and Q5_K of GGUF have in common. Included by the tiers' own files, so no
// standard library and no function that could be shared.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hydrofoil::kernels {

// 8 scales and 8 minima of 6 bits each in 12 bytes.
inline __attribute__((always_inline)) void scales_and_minima(const uint8_t* packed,
                                                             uint8_t (&scales)[8],
                                                             uint8_t (&minima)[8]) {
  for (size_t j = 0; j < 4; ++j) {
    const uint8_t a = packed[j], b = packed[j + 4], c = packed[j + 8];
    scales[j] = a & 63;
    minima[j] = b & 63;
    scales[j + 4] = static_cast<uint8_t>((c & 15) | (a >> 2 & 0x30));
    minima[j + 4] = static_cast<uint8_t>(c >> 4 | (b >> 2 & 0x30));
  }
}

inline __attribute__((always_inline)) void put_scales_and_minima(const int* scales,
                                                                 const int* minima,
                                                                 uint8_t* packed) {
  for (size_t j = 0; j < 4; ++j) {
    packed[j] = static_cast<uint8_t>(scales[j] | scales[j + 4] >> 4 << 6);
    packed[j + 4] = static_cast<uint8_t>(minima[j] | minima[j + 4] >> 4 << 6);
    packed[j + 8] = static_cast<uint8_t>((scales[j + 4] & 15) | (minima[j + 4] & 15) << 4);
  }
}

}  // namespace hydrofoil::kernels
