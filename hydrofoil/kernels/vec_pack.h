// SPDX-License-Identifier: Apache-2.0
// The part of the vector layer that is the same text on every tier: packs are the compiler's own
// vectors, so + - * / and comparisons work on them and round as the scalar operators do. A tier's
// header defines kVecBytes first and what differs (width conversions, fma, streaming) after;
// vec_bf16.h closes it.
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
using F64 = Pack<double>;
// Half a pack: as many lanes as the full one of twice their width.
using U16 = typename PackOf<uint16_t, kVecBytes / 2>::type;   // of F32 and U32
using F32Half = typename PackOf<float, kVecBytes / 2>::type;  // of F64

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

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
