// SPDX-License-Identifier: Apache-2.0
// AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace hydrofoil::kernels::avx2 {
constexpr size_t kVecBytes = 32;
}

#include "hydrofoil/kernels/vec_pack.h"

namespace hydrofoil::kernels::avx2 {

// extend: to twice the width, exactly; truncate: of lanes below 2^16. (The compiler's own
// conversions go through halves here, at a third of the speed.)
HYDROFOIL_LANES U32 extend(U16 v) {
  return (U32)_mm256_cvtepu16_epi32((__m128i)v);
}
HYDROFOIL_LANES U16 truncate(U32 v) {
  const __m256i halves = _mm256_packus_epi32((__m256i)v, (__m256i)v);  // each within its 128 bits
  return (U16)_mm256_castsi256_si128(_mm256_permute4x64_epi64(halves, 0b1000));
}
HYDROFOIL_LANES F64 extend(F32Half v) {
  return (F64)_mm256_cvtps_pd((__m128)v);
}

HYDROFOIL_LANES U16 to_f16(F32 v) {
  return (U16)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
}
HYDROFOIL_LANES F32 from_f16(U16 v) {
  return (F32)_mm256_cvtph_ps((__m128i)v);
}

// Lanes of two packs in turn: those of their lower halves, and of their upper.
HYDROFOIL_LANES void interleave(U32& a, U32& b) {
  const U32 lower = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  b = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  a = lower;
}

HYDROFOIL_LANES F32 from_bytes(const int8_t* from) {
  return (F32)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadu_si64(from)));
}

HYDROFOIL_LANES F32 fma(F32 a, F32 b, F32 c) {
  return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
// As in vec_scalar.h.
HYDROFOIL_LANES F64 add_square(F64 sum, F64 x) {
  return (F64)_mm256_fmadd_pd((__m256d)x, (__m256d)x, (__m256d)sum);
}
HYDROFOIL_LANES F32 sqrt(F32 v) {
  return (F32)_mm256_sqrt_ps((__m256)v);
}

// `to` aligned to the pack. Streams are ordered before other threads' reads by stream_fence.
template <class V>
HYDROFOIL_LANES void stream(void* to, V v) {
  if constexpr (sizeof(V) == 32)
    _mm256_stream_si256(static_cast<__m256i*>(to), (__m256i)v);
  else
    _mm_stream_si128(static_cast<__m128i*>(to), (__m128i)v);
}
HYDROFOIL_LANES void stream_fence() {
  _mm_sfence();
}

}  // namespace hydrofoil::kernels::avx2

#include "hydrofoil/kernels/vec_bf16.h"
