// SPDX-License-Identifier: Apache-2.0
// The part of the vector layer that is the same text on every tier: packs are the compiler's own
// vectors, so + - * / and comparisons work on them and round as the scalar operators do. A tier's
// header defines kVecBytes first and what differs (conversions, fma, streaming) after.
//
// Tails are packs too: load_part fills the missing lanes with zeros, store_part writes the given
// bytes only. The order of operations is thus the same for every length and on every tier.
#pragma once

#define HYDROFOIL_LANES inline __attribute__((always_inline))

namespace hydrofoil::kernels::HYDROFOIL_TIER {

template <class T, size_t bytes>
struct PackOf {
  typedef T type __attribute__((vector_size(bytes)));
};
template <class T>
using Pack = typename PackOf<T, kVecBytes>::type;
using F32 = Pack<float>;
using U32 = Pack<uint32_t>;
using U16 = typename PackOf<uint16_t, kVecBytes / 2>::type;  // as many lanes as F32

constexpr size_t kF32Lanes = kVecBytes / sizeof(float);

// v - 0 is v for every v, which the compiler knows; v + 0 is not, for -0.
HYDROFOIL_LANES F32 splat(float v) {
  return v - F32{};
}

template <class V>
HYDROFOIL_LANES V load(const void* from) {
  V v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

template <class V>
HYDROFOIL_LANES void store(void* to, V v) {
  __builtin_memcpy(to, &v, sizeof v);
}

template <class V>
HYDROFOIL_LANES V load_part(const void* from, size_t bytes) {
  V v = {};
  __builtin_memcpy(&v, from, bytes);
  return v;
}

template <class V>
HYDROFOIL_LANES void store_part(void* to, V v, size_t bytes) {
  __builtin_memcpy(to, &v, bytes);
}

// Round to nearest even; a NaN stays a NaN. As to_bf16 of core/dtype.h.
HYDROFOIL_LANES U16 to_bf16(F32 v) {
  const U32 bits = (U32)v;
  const U32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const U32 nan = (bits >> 16) | 0x40;
  return __builtin_convertvector(v == v ? rounded : nan, U16);
}

HYDROFOIL_LANES F32 from_bf16(U16 v) {
  return (F32)(__builtin_convertvector(v, U32) << 16);
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
