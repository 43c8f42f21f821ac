// SPDX-License-Identifier: Apache-2.0
// What the block formats of GGUF have in common when they are made: codes of a few bits, and the
// scale and minimum that fit numbers best. Private to kernels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::kernels {

inline void put_half(float value, std::byte* to) {
  const uint16_t bits = to_f16(value);
  std::memcpy(to, &bits, sizeof bits);
}

inline float inverse(float scale) {
  return scale == 0 ? 0.0f : 1.0f / scale;
}

// Within low .. high; low for what is no number, so that it becomes an integer.
inline float cut(float value, float low, float high) {
  return std::min(high, std::max(low, value));
}

// Codes value * factor + offset, cut to 0 .. kMost.
template <int kMost>
struct Codes {
  float factor = 0, offset = 0;
  int operator()(float value) const {
    return static_cast<int>(cut(value * factor + offset, 0.0f, float{kMost}));
  }
};

// Numbers as scale * (code - zero) + minimum. Symmetric: the minimum is 0, and zero the code in
// the middle; else zero is 0.
enum class Form : uint8_t { kSymmetric, kMinimum, kMinimumBelowZero };
struct Fit {
  float scale = 0, minimum = 0;
  float error = std::numeric_limits<float>::infinity();
};

// By least squares for given codes.
template <Form kForm, size_t kCount, int kMost>
Fit fitted(const float* x, const Codes<kMost>& code) {
  constexpr size_t kLanes = 4;  // that sums go through, so that loops become vectors
  constexpr float kZero = kForm == Form::kSymmetric ? (kMost + 1) / 2 : 0;
  float sums[5][kLanes] = {};
  for (size_t c = 0; c < kCount; c += kLanes)
    for (size_t i = 0; i < kLanes; ++i) {
      const float value = x[c + i], number = static_cast<float>(code(value)) - kZero;
      sums[0][i] += number;
      sums[1][i] += number * number;
      sums[2][i] += value;
      sums[3][i] += value * number;
      sums[4][i] += value * value;
    }
  const auto sum = [&](int of) {
    const float* lane = sums[of];
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
  };
  const float q = sum(0), qq = sum(1), v = sum(2), vq = sum(3), vv = sum(4);
  if constexpr (kForm != Form::kSymmetric) {
    const float spread = kCount * qq - q * q;  // 0 where all codes are the same
    if (kForm == Form::kMinimum && spread <= 0) return {};
    const float scale = (kCount * vq - q * v) / spread, minimum = (v - scale * q) / kCount;
    if (kForm == Form::kMinimum || (spread > 0 && minimum <= 0))
      return {scale, minimum, vv - scale * vq - minimum * v};
  }
  if (qq <= 0) return {};
  return {vq / qq, 0, vv - vq / qq * vq};
}

// Of codes with factors to either side of `usual`, by 2 percent of it, those that fit best.
template <Form kForm, size_t kCount, int kMost, class OffsetOf>
Fit closest(const float* x, float usual, const OffsetOf& offset_of, Codes<kMost>& codes) {
  constexpr int kTrials = 10;
  Fit best;
  for (int trial = -kTrials; trial <= kTrials; ++trial) {
    const float factor = usual * (1 + 0.02f * static_cast<float>(trial));
    const Codes<kMost> tried{factor, offset_of(factor)};
    if (const Fit fit = fitted<kForm, kCount>(x, tried); fit.error < best.error)
      best = fit, codes = tried;
  }
  return best;
}

// The same where the number farthest from zero usually becomes the lowest code exactly.
template <size_t kCount, int kMost>
Fit closest_symmetric(const float* x, Codes<kMost>& codes) {
  constexpr float kZero = (kMost + 1) / 2;
  float farthest = x[0];
  for (size_t c = 1; c < kCount; ++c)
    if (std::abs(x[c]) > std::abs(farthest)) farthest = x[c];
  return closest<Form::kSymmetric, kCount>(
      x, inverse(farthest / -kZero), [](float) { return kZero + 0.5f; }, codes);
}

// The blocks of 256 numbers: quantize_k.cpp. One block each.
void quantize_q4_k(const float* x, std::byte* out);
void quantize_q5_k(const float* x, std::byte* out);
void quantize_q6_k(const float* x, std::byte* out);

}  // namespace hydrofoil::kernels
