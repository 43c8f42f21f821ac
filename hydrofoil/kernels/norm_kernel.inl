// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/block_squares.inl"

namespace hydrofoil::kernels::HYDROFOIL_TIER {

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
