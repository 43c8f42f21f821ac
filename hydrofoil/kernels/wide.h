// SPDX-License-Identifier: Apache-2.0
// Sixteen floats, in as many packs as the tier needs: sums of many numbers go through sixteen lanes
// on every tier, so their bits are the same.
#pragma once

namespace hydrofoil::kernels::HYDROFOIL_TIER {

constexpr size_t kWide = 16;
constexpr size_t kWidePacks = kWide / kF32Lanes;

struct Wide {
  F32 v[kWidePacks];
};

template <class Apply>
HYDROFOIL_LANES Wide each_pack(const Apply& apply) {
  Wide out;
  for (size_t p = 0; p < kWidePacks; ++p) out.v[p] = apply(p);
  return out;
}

HYDROFOIL_LANES Wide wide(float x) {
  return each_pack([&](size_t) { return splat(x); });
}
HYDROFOIL_LANES Wide load_wide(const float* from) {
  return each_pack([&](size_t p) { return load<F32>(from + p * kF32Lanes); });
}
HYDROFOIL_LANES Wide load_wide(const uint16_t* bf16) {
  return each_pack([&](size_t p) { return from_bf16(load<U16>(bf16 + p * kF32Lanes)); });
}
HYDROFOIL_LANES Wide load_wide(const int8_t* bytes) {
  return each_pack([&](size_t p) { return from_bytes(bytes + p * kF32Lanes); });
}
// Zeros beyond the first `count`.
HYDROFOIL_LANES Wide load_wide(const float* from, size_t count) {
  alignas(64) float padded[kWide] = {};
  __builtin_memcpy(padded, from, count * sizeof(float));
  return load_wide(padded);
}
HYDROFOIL_LANES void store_wide(float* to, const Wide& x) {
  for (size_t p = 0; p < kWidePacks; ++p) store(to + p * kF32Lanes, x.v[p]);
}
HYDROFOIL_LANES void store_wide(float* to, const Wide& x, size_t count) {
  alignas(64) float padded[kWide];
  store_wide(padded, x);
  __builtin_memcpy(to, padded, count * sizeof(float));
}

HYDROFOIL_LANES Wide operator+(const Wide& a, const Wide& b) {
  return each_pack([&](size_t p) { return a.v[p] + b.v[p]; });
}
HYDROFOIL_LANES Wide operator-(const Wide& a, const Wide& b) {
  return each_pack([&](size_t p) { return a.v[p] - b.v[p]; });
}
HYDROFOIL_LANES Wide operator*(const Wide& a, const Wide& b) {
  return each_pack([&](size_t p) { return a.v[p] * b.v[p]; });
}
HYDROFOIL_LANES Wide operator/(const Wide& a, const Wide& b) {
  return each_pack([&](size_t p) { return a.v[p] / b.v[p]; });
}
HYDROFOIL_LANES Wide fma(const Wide& a, const Wide& b, const Wide& c) {
  return each_pack([&](size_t p) { return fma(a.v[p], b.v[p], c.v[p]); });
}
HYDROFOIL_LANES Wide larger(const Wide& a, const Wide& b) {
  return each_pack([&](size_t p) { return a.v[p] > b.v[p] ? a.v[p] : b.v[p]; });
}
HYDROFOIL_LANES Wide smaller(const Wide& a, const Wide& b) {
  return each_pack([&](size_t p) { return a.v[p] < b.v[p] ? a.v[p] : b.v[p]; });
}

// Sixteen to one, halves onto halves.
HYDROFOIL_LANES float sum_of(const Wide& x) {
  alignas(64) float lanes[kWide];
  store_wide(lanes, x);
  for (size_t half = kWide / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}
HYDROFOIL_LANES float largest_of(const Wide& x) {
  alignas(64) float lanes[kWide];
  store_wide(lanes, x);
  for (size_t half = kWide / 2; half > 0; half /= 2)
    for (size_t i = 0; i < half; ++i)
      lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
  return lanes[0];
}

// e^x within 2 units in the last place; 0 below -87.3, infinite nowhere.
HYDROFOIL_LANES Wide exponential(const Wide& x) {
  const Wide bounded = smaller(larger(x, wide(-87.3f)), wide(88.3f));
  return each_pack([&](size_t p) {
    constexpr float kSeries[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: leaves whole numbers in the low bits
    const F32 v = bounded.v[p];
    const F32 shifted = fma(v, splat(1.44269504f), splat(kRound));
    const F32 whole = shifted - splat(kRound);
    // ln 2 in two parts, so that the rest is exact.
    const F32 rest = fma(whole, splat(-1.42860677e-6f), fma(whole, splat(-0.693145752f), v));
    F32 series = splat(1.0f / 5040);
    for (const float c : kSeries) series = fma(series, rest, splat(c));
    const F32 scaled = (F32)((U32)series + (((U32)shifted - (U32)splat(kRound)) << 23));
    return x.v[p] < splat(-87.3f) ? F32{} : scaled;
  });
}

// tanh(x): its series where e^(2 x) would lose digits.
HYDROFOIL_LANES Wide hyperbolic_tangent(const Wide& x) {
  constexpr float kSeries[] = {-17.0f / 315, 2.0f / 15, -1.0f / 3, 1.0f};
  const Wide far = wide(1) - wide(2) / (wide(1) + exponential(x + x));
  const Wide square = x * x;
  Wide near = wide(62.0f / 2835);
  for (const float c : kSeries) near = fma(near, square, wide(c));
  return each_pack(
      [&](size_t p) { return square.v[p] < splat(0.0625f) ? near.v[p] * x.v[p] : far.v[p]; });
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
