// SPDX-License-Identifier: Apache-2.0
// What matrix products multiply, 32 bits at a time: a unit is an fp32 number or, where the tier
// multiplies pairs of bf16 and numbers are stored as such, two that follow each other along the
// axis that is summed over.
#pragma once

namespace hydrofoil::kernels::HYDROFOIL_TIER {

HYDROFOIL_LANES F32 load_floats(const float* from) {
  return load<F32>(from);
}
HYDROFOIL_LANES F32 load_floats(const uint16_t* bf16) {
  return from_bf16(load<U16>(bf16));
}
HYDROFOIL_LANES void store_floats(float* to, F32 v) {
  store(to, v);
}
HYDROFOIL_LANES void store_floats(uint16_t* bf16, F32 v) {
  store(bf16, to_bf16(v));
}

template <class Stored>
struct Units {
  static constexpr size_t kFold = 1;  // numbers in a unit
  static HYDROFOIL_LANES F32 multiply_add(U32 a, U32 b, F32 sum) {
    return fma((F32)a, (F32)b, sum);
  }
  // Units of a row from number `first` on, those of the first `count` numbers, zeros beyond.
  static HYDROFOIL_LANES U32 along(const Stored* row, size_t first, size_t) {
    return (U32)load_floats(row + first);
  }
  // Units of kFold rows; null: zeros.
  static HYDROFOIL_LANES U32 across(const Stored* const (&rows)[kFold], size_t first) {
    return rows[0] ? (U32)load_floats(rows[0] + first) : U32{};
  }
  static HYDROFOIL_LANES U32 along(const F32 (&packs)[kFold]) { return (U32)packs[0]; }
  static HYDROFOIL_LANES U32 across(const F32 (&rows)[kFold]) { return (U32)rows[0]; }
};

#ifdef __AVX512BF16__

template <>
struct Units<uint16_t> {
  static constexpr size_t kFold = 2;
  static HYDROFOIL_LANES F32 multiply_add(U32 a, U32 b, F32 sum) {
    return (F32)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
  static HYDROFOIL_LANES U32 along(const uint16_t* row, size_t first, size_t count) {
    const size_t left = (count - first) * sizeof *row;
    return left < kVecBytes ? load_part<U32>(row + first, left) : load<U32>(row + first);
  }
  static HYDROFOIL_LANES U32 across(const uint16_t* const (&rows)[kFold], size_t first) {
    const U32 even = rows[0] ? extend(load<U16>(rows[0] + first)) : U32{};
    const U32 odd = rows[1] ? extend(load<U16>(rows[1] + first)) : U32{};
    return even | odd << 16;
  }
  static HYDROFOIL_LANES U32 along(const F32 (&packs)[kFold]) {
    return (U32)_mm512_cvtne2ps_pbh((__m512)packs[1], (__m512)packs[0]);
  }
  static HYDROFOIL_LANES U32 across(const F32 (&rows)[kFold]) {
    const auto even = (U16)_mm512_cvtneps_pbh((__m512)rows[0]);
    const auto odd = (U16)_mm512_cvtneps_pbh((__m512)rows[1]);
    return extend(even) | extend(odd) << 16;
  }
};

#endif

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
