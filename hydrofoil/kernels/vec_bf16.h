// SPDX-License-Identifier: Apache-2.0
// bf16 in terms of the tier's integer packs.
#pragma once

namespace hydrofoil::kernels::HYDROFOIL_TIER {

// Round to nearest even; a NaN stays a NaN. As to_bf16 of core/dtype.h.
HYDROFOIL_LANES U16 to_bf16(F32 v) {
  const U32 bits = (U32)v;
  const U32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const U32 nan = (bits >> 16) | 0x40;
  return truncate(v == v ? rounded : nan);
}

// Up or down, by chance: with 16 random bits in each lane, up as often as the number is near.
HYDROFOIL_LANES U16 to_bf16(F32 v, U32 random) {
  const U32 bits = (U32)v;
  const U32 rounded = (bits + random) >> 16;
  const U32 nan = (bits >> 16) | 0x40;
  return truncate(v == v ? rounded : nan);
}

HYDROFOIL_LANES F32 from_bf16(U16 v) {
  return (F32)(extend(v) << 16);
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
