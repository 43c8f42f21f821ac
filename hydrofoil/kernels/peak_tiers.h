// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

// Chains of multiply-adds: more than latency times throughput of any CPU, and few enough to stay in
// the sixteen registers of AVX2.
constexpr size_t kPeakChains = 12;

HYDROFOIL_DECLARE_TIERS(
    // `rounds` multiply-adds in each lane of each chain; their sum, so that they are not left out.
    float fma_chains(size_t rounds, float factor);
    // In a vector of the tier.
    size_t fma_lanes();)

}  // namespace hydrofoil::kernels
