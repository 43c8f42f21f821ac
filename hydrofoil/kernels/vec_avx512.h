// SPDX-License-Identifier: Apache-2.0
// AVX-512 F, BW, DQ, VL, of three tiers.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace hydrofoil::kernels::HYDROFOIL_TIER {
constexpr size_t kVecBytes = 64;
}

#include "hydrofoil/kernels/vec_pack.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {

// The unmasked forms trip a false warning of GCC 12 (bug 105593); the code is the same.
constexpr __mmask16 kAllLanes = 0xffff;

// extend: to twice the width, exactly; truncate: the lower half of each lane. (The compiler's own
// conversions go through halves here, at a third of the speed.)
HYDROFOIL_LANES U32 extend(U16 v) {
  return (U32)_mm512_maskz_cvtepu16_epi32(kAllLanes, (__m256i)v);
}
HYDROFOIL_LANES U16 truncate(U32 v) {
  return (U16)_mm512_maskz_cvtepi32_epi16(kAllLanes, (__m512i)v);
}
HYDROFOIL_LANES F64 extend(F32Half v) {
  return (F64)_mm512_maskz_cvtps_pd(static_cast<__mmask8>(kAllLanes), (__m256)v);
}

HYDROFOIL_LANES U16 to_f16(F32 v) {
  return (U16)_mm512_maskz_cvtps_ph(kAllLanes, (__m512)v, _MM_FROUND_TO_NEAREST_INT);
}
HYDROFOIL_LANES F32 from_f16(U16 v) {
  return (F32)_mm512_maskz_cvtph_ps(kAllLanes, (__m256i)v);
}

// Lanes of two packs in turn: those of their lower halves, and of their upper.
HYDROFOIL_LANES void interleave(U32& a, U32& b) {
  const U32 lower =
      __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  b = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  a = lower;
}

HYDROFOIL_LANES F32 from_bytes(const int8_t* from) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return (F32)_mm512_maskz_cvtepi32_ps(kAllLanes, _mm512_maskz_cvtepi8_epi32(kAllLanes, bytes));
}

HYDROFOIL_LANES F32 fma(F32 a, F32 b, F32 c) {
  return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
// As in vec_scalar.h.
HYDROFOIL_LANES F64 add_square(F64 sum, F64 x) {
  return (F64)_mm512_fmadd_pd((__m512d)x, (__m512d)x, (__m512d)sum);
}
HYDROFOIL_LANES F32 sqrt(F32 v) {
  return (F32)_mm512_maskz_sqrt_ps(kAllLanes, (__m512)v);
}

// `to` aligned to the pack. Streams are ordered before other threads' reads by stream_fence.
template <class V>
HYDROFOIL_LANES void stream(void* to, V v) {
  if constexpr (sizeof(V) == 64)
    _mm512_stream_si512(static_cast<__m512i*>(to), (__m512i)v);
  else
    _mm256_stream_si256(static_cast<__m256i*>(to), (__m256i)v);
}
HYDROFOIL_LANES void stream_fence() {
  _mm_sfence();
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER

#include "hydrofoil/kernels/vec_bf16.h"
