// SPDX-License-Identifier: Apache-2.0
// The tier that every CPU has. Packs of 16 bytes cost nothing there (SSE2 and NEON are part of
// their architectures); what those lack runs lane by lane.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::kernels::scalar {
constexpr size_t kVecBytes = 16;
}

#include "hydrofoil/kernels/vec_pack.h"

namespace hydrofoil::kernels::scalar {

// extend: to twice the width, exactly; truncate: the lower half of each lane.
HYDROFOIL_LANES U32 extend(U16 v) {
  return __builtin_convertvector(v, U32);
}
HYDROFOIL_LANES U16 truncate(U32 v) {
  return __builtin_convertvector(v, U16);
}
HYDROFOIL_LANES F64 extend(F32Half v) {
  return __builtin_convertvector(v, F64);
}

HYDROFOIL_LANES U16 to_f16(F32 v) {
  U16 out;
  for (size_t i = 0; i < kF32Lanes; ++i) out[i] = hydrofoil::to_f16(v[i]);
  return out;
}

HYDROFOIL_LANES F32 from_f16(U16 v) {
  F32 out;
  for (size_t i = 0; i < kF32Lanes; ++i) out[i] = hydrofoil::from_f16(v[i]);
  return out;
}

// Lanes of two packs in turn: those of their lower halves, and of their upper.
HYDROFOIL_LANES void interleave(U32& a, U32& b) {
  const U32 lower = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  b = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  a = lower;
}

HYDROFOIL_LANES F32 from_bytes(const int8_t* from) {
  F32 out;
  for (size_t i = 0; i < kF32Lanes; ++i) out[i] = from[i];
  return out;
}

HYDROFOIL_LANES F32 fma(F32 a, F32 b, F32 c) {
  F32 out;
  for (size_t i = 0; i < kF32Lanes; ++i) out[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return out;
}

// sum + x^2 for x that came out of extend(): its square is exact in double, so that a fused and two
// separate operations round alike.
HYDROFOIL_LANES F64 add_square(F64 sum, F64 x) {
  return sum + x * x;
}

HYDROFOIL_LANES F32 sqrt(F32 v) {
  F32 out;
  for (size_t i = 0; i < kF32Lanes; ++i) out[i] = __builtin_sqrtf(v[i]);
  return out;
}

// No portable way to bypass the caches: streams are stores.
template <class V>
HYDROFOIL_LANES void stream(void* to, V v) {
  store(to, v);
}
HYDROFOIL_LANES void stream_fence() {}

}  // namespace hydrofoil::kernels::scalar

#include "hydrofoil/kernels/vec_bf16.h"
