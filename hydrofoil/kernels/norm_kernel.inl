// SPDX-License-Identifier: Apache-2.0
// Squares of fp32 numbers are exact in double, so only the order of the additions matters. It is:
// 16 running sums (element i goes to sum i mod 16), then the upper half of the sums onto the lower,
// four times. Software prefetch was measured 30 % slower here.
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

HYDROFOIL_LANES double squares(const float* block) {
  F64 sums[kPacks] = {};
  for (size_t i = 0; i < kNormBlock; i += kSums)
    for (size_t k = 0; k < kPacks; ++k)
      sums[k] = add_square(sums[k], extend(load<F32Half>(block + i + k * kF64Lanes)));
  return fold(sums);
}

}  // namespace

void block_squares(const float* data, size_t blocks, double* sums) {
  for (size_t b = 0; b < blocks; ++b) sums[b] = squares(data + b * kNormBlock);
}

bool all_finite(const float* data, size_t count) {
  constexpr uint32_t kExponent = 0x7f800000;
  constexpr size_t kCheck = 64;  // packs between two looks at the result
  const auto bad = [](U32 bits) { return (bits & kExponent) == kExponent; };
  decltype(bad(U32{})) found = {};
  size_t i = 0;
  while (i < count) {
    for (size_t k = 0; k < kCheck && i + kF32Lanes <= count; ++k, i += kF32Lanes)
      found |= bad(load<U32>(data + i));
    if (count - i < kF32Lanes) {
      found |= bad(load_part<U32>(data + i, (count - i) * sizeof(float)));
      i = count;
    }
    for (size_t lane = 0; lane < kF32Lanes; ++lane)
      if (found[lane]) return false;
  }
  return true;
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
