// SPDX-License-Identifier: Apache-2.0
// The exponential of softmax: of differences to the largest, none of which is above 0 by more than
// rounding.
#pragma once

namespace hydrofoil::kernels::HYDROFOIL_TIER {

constexpr float kLog2E = 1.44269504f;

// 2^x within 2 units in the last place for x below 127; 0 below -126. A NaN stays one.
HYDROFOIL_LANES F32 power_of_two(F32 x) {
  constexpr float kSeries[] = {1.33999309e-3f, 9.61848907e-3f, 5.55032864e-2f,
                               0.240226462f,   0.693147182f,   1.0f};
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: leaves whole numbers in the low bits
  const F32 shifted = x + splat(kRound), rest = x - (shifted - splat(kRound));
  F32 series = splat(1.53458108e-4f);
  for (const float c : kSeries) series = fma(series, rest, splat(c));
  const F32 scaled = (F32)((U32)series + ((U32)shifted << 23));
  return x < splat(-126.0f) ? F32{} : scaled;
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
