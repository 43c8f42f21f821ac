// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/peak_tiers.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {

float fma_chains(size_t rounds, float factor) {
  const F32 by = splat(factor), plus = splat(1e-3f);
  F32 chain[kPeakChains];
  for (size_t c = 0; c < kPeakChains; ++c) chain[c] = splat(static_cast<float>(c));
  for (size_t i = 0; i < rounds; ++i)
    for (size_t c = 0; c < kPeakChains; ++c) chain[c] = fma(chain[c], by, plus);
  F32 sum = chain[0];
  for (size_t c = 1; c < kPeakChains; ++c) sum = sum + chain[c];
  return sum[0];
}

size_t fma_lanes() {
  return kF32Lanes;
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
