// SPDX-License-Identifier: Apache-2.0
// Random bits as a function of a key and a position.
#pragma once

#include "hydrofoil/kernels/elementwise_tiers.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

// first, first + 1, ..
HYDROFOIL_LANES U32 positions(uint32_t first) {
  U32 result;
  for (size_t lane = 0; lane < kF32Lanes; ++lane) result[lane] = static_cast<uint32_t>(lane);
  return result + first;
}

// Two rounds of xor and multiply mix 32 bits well (constants: Wellons' search for least bias); keys
// on both sides of the first keep the numbers of two keys from being each other's, shifted.
HYDROFOIL_LANES U32 random_bits(U32 position, RandomKey key) {
  U32 x = position + key.before;
  x ^= x >> 16;
  x *= 0x21f0aaad;
  x ^= key.between;
  x ^= x >> 15;
  x *= 0xd35a2d97;
  return x ^ x >> 15;
}

HYDROFOIL_LANES U16 round_by_chance(F32 v, uint32_t first, RandomKey key) {
  return to_bf16(v, random_bits(positions(first), key) >> 16);
}

}  // namespace
}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
