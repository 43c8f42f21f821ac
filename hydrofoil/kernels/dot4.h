// SPDX-License-Identifier: Apache-2.0
// Products of unsigned with signed bytes, four to a 32-bit lane, exact on every tier.
#pragma once

namespace hydrofoil::kernels::HYDROFOIL_TIER {

using I32 = Pack<int32_t>;
using Bytes = Pack<uint8_t>;

HYDROFOIL_LANES int32_t four_bytes(const int8_t* from) {
  int32_t four;
  __builtin_memcpy(&four, from, sizeof four);
  return four;
}

// spread4: the same four signed bytes for every lane. dot4: sum + the four products of each lane.
#if defined(__AVX512VNNI__)

using Four = I32;
HYDROFOIL_LANES Four spread4(const int8_t* from) {
  return I32{} + four_bytes(from);
}
HYDROFOIL_LANES I32 dot4(I32 sum, Bytes codes, Four four) {
  return (I32)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)codes, (__m512i)four);
}

#elif defined(__AVX2__)

// Bytes 0 and 2, and 1 and 3, as 16 bits: their products with unsigned bytes do not fit into less.
using I16 = Pack<int16_t>;
using U16Full = Pack<uint16_t>;
struct Four {
  I16 even, odd;
};
HYDROFOIL_LANES Four spread4(const int8_t* from) {
  const I16 pairs = (I16)(I32{} + four_bytes(from));
  return {(I16)(pairs << 8) >> 8, pairs >> 8};
}
HYDROFOIL_LANES I32 multiply_pairs(I16 a, I16 b) {
#if defined(__AVX512BW__)
  return (I32)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#else
  return (I32)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#endif
}
HYDROFOIL_LANES I32 dot4(I32 sum, Bytes codes, const Four& four) {
  const auto words = (U16Full)codes;
  return sum + multiply_pairs((I16)(words & 255), four.even) +
         multiply_pairs((I16)(words >> 8), four.odd);
}

#else

struct Four {
  int32_t bytes[4];
};
HYDROFOIL_LANES Four spread4(const int8_t* from) {
  return {{from[0], from[1], from[2], from[3]}};
}
HYDROFOIL_LANES I32 dot4(I32 sum, Bytes codes, const Four& four) {
  const auto lanes = (U32)codes;
  for (uint32_t i = 0; i < 4; ++i) sum += (I32)((lanes >> (8 * i)) & 255) * four.bytes[i];
  return sum;
}

#endif

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
