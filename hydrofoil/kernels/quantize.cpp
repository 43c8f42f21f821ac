// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/kernels/k_scales.h"

namespace hydrofoil::kernels {
namespace {

constexpr size_t kBlock = 32;  // elements

void put_half(float value, std::byte* to) {
  const uint16_t bits = to_f16(value);
  std::memcpy(to, &bits, sizeof bits);
}

// Halves away from zero; without a call, so that loops become vectors.
int rounded(float value) {
  const float size = std::abs(value);
  const int whole = static_cast<int>(size),
            nearest = whole + static_cast<int>(2 * (size - static_cast<float>(whole)));
  return value < 0 ? -nearest : nearest;
}

float inverse(float scale) {
  return scale == 0 ? 0.0f : 1.0f / scale;
}

// Column c in the low, c + 16 in the high half of a byte.
template <class Code>
void put_nibbles(const Code& code, std::byte* to) {
  for (size_t c = 0; c < kBlock / 2; ++c)
    to[c] = static_cast<std::byte>(code(c) | code(c + kBlock / 2) << 4);
}

void q8_0(const float* x, std::byte* out) {
  float largest = 0;
  for (size_t c = 0; c < kBlock; ++c) largest = std::max(largest, std::abs(x[c]));
  const float scale = largest / 127, per_scale = inverse(scale);
  put_half(scale, out);
  for (size_t c = 0; c < kBlock; ++c)
    out[2 + c] = static_cast<std::byte>(rounded(x[c] * per_scale));
}

// Codes value * factor + offset, cut to 4 bits.
struct Codes {
  float factor = 0, offset = 0;
  int operator()(float value) const {
    return static_cast<int>(std::min(std::max(value * factor + offset, 0.0f), 15.0f));
  }
};

// Numbers as scale * (code - zero) + minimum, by least squares for given codes.
struct Fit {
  float scale = 0, minimum = 0;
  float error = std::numeric_limits<float>::infinity();
};
template <bool kMinimum>
Fit fitted(const float* x, const Codes& code) {
  constexpr size_t kLanes = 4;  // that sums go through, so that loops become vectors
  constexpr float kZero = kMinimum ? 0 : 8, kCount = kBlock;
  float sums[5][kLanes] = {};
  for (size_t c = 0; c < kBlock; c += kLanes)
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
  const float q = sum(0), qq = sum(1), v = sum(2), vq = sum(3);
  const float spread = kMinimum ? kCount * qq - q * q : qq;
  if (spread <= 0) return {};
  const float scale = (kMinimum ? kCount * vq - q * v : vq) / spread;
  const float minimum = kMinimum ? (v - scale * q) / kCount : 0;
  return {scale, minimum, sum(4) - scale * vq - minimum * v};
}

// Of codes with factors to either side of `usual`, by 2 percent of it, those that fit best.
template <bool kMinimum, class OffsetOf>
Fit closest(const float* x, float usual, const OffsetOf& offset_of, Codes& codes) {
  constexpr int kTrials = 10;
  Fit best;
  for (int trial = -kTrials; trial <= kTrials; ++trial) {
    const float factor = usual * (1 + 0.02f * static_cast<float>(trial));
    const Codes tried{factor, offset_of(factor)};
    if (const Fit fit = fitted<kMinimum>(x, tried); fit.error < best.error)
      best = fit, codes = tried;
  }
  return best;
}

// Usually the number farthest from zero becomes -8 exactly.
void q4_0(const float* x, std::byte* out) {
  float farthest = x[0];
  for (size_t c = 1; c < kBlock; ++c)
    if (std::abs(x[c]) > std::abs(farthest)) farthest = x[c];
  Codes codes;
  const Fit fit = closest<false>(x, inverse(farthest / -8), [](float) { return 8.5f; }, codes);
  put_half(fit.scale, out);
  put_nibbles([&](size_t c) { return codes(x[c]); }, out + 2);
}

// Usually the lowest and the highest become 0 and 15.
void q4_1(const float* x, std::byte* out) {
  const auto [low, high] = std::minmax_element(x, x + kBlock);
  const float lowest = *low;
  Codes codes;
  const Fit fit = closest<true>(
      x, inverse((*high - lowest) / 15), [&](float factor) { return 0.5f - lowest * factor; },
      codes);
  const bool varies = std::isfinite(fit.error);
  put_half(varies ? fit.scale : 0, out);
  put_half(varies ? fit.minimum : lowest, out + 2);
  put_nibbles([&](size_t c) { return codes(x[c]); }, out + 4);
}

template <class Block>
void each_block(GgmlType type, std::span<const float> values, std::span<std::byte> out,
                const Block& block) {
  const auto& layout = layout_of(type);
  if (values.size() % kBlock != 0 || out.size() != values.size() / kBlock * layout.block_bytes)
    throw std::logic_error("quantize: sizes that do not match");
  for (size_t b = 0; b < values.size() / kBlock; ++b)
    block(values.data() + b * kBlock, out.data() + b * layout.block_bytes);
}

}  // namespace

void quantize(GgmlType type, std::span<const float> values, std::span<std::byte> out) {
  switch (type) {
    case GgmlType::kF32:
      return static_cast<void>(std::memcpy(out.data(), values.data(), values.size_bytes()));
    case GgmlType::kBF16:
    case GgmlType::kF16:
      return narrow(values, {reinterpret_cast<uint16_t*>(out.data()), values.size()},
                    type == GgmlType::kBF16 ? DType::kBF16 : DType::kF16);
    case GgmlType::kQ8_0:
      return each_block(type, values, out, q8_0);
    case GgmlType::kQ4_0:
      return each_block(type, values, out, q4_0);
    case GgmlType::kQ4_1:
      return each_block(type, values, out, q4_1);
    default:
      throw std::logic_error("quantize: no way to " + std::string(layout_of(type).name));
  }
}

void q4_k_to_q4_1(std::span<const std::byte> blocks, std::span<std::byte> out) {
  constexpr size_t kGroups = 8;  // of 32 codes, two in the halves of 32 bytes
  const size_t from_bytes = layout_of(GgmlType::kQ4_K).block_bytes,
               to_bytes = layout_of(GgmlType::kQ4_1).block_bytes;
  if (blocks.size() % from_bytes != 0 ||
      out.size() != blocks.size() / from_bytes * kGroups * to_bytes)
    throw std::logic_error("q4_k_to_q4_1: sizes that do not match");
  auto* to = out.data();
  for (size_t b = 0; b < blocks.size(); b += from_bytes) {
    const auto* block = reinterpret_cast<const uint8_t*>(blocks.data() + b);
    uint16_t halves[2];
    std::memcpy(halves, block, sizeof halves);
    const float scale = from_f16(halves[0]), minimum = from_f16(halves[1]);
    uint8_t scales[kGroups], minima[kGroups];
    scales_and_minima(block + 4, scales, minima);
    for (size_t group = 0; group < kGroups; ++group, to += to_bytes) {
      put_half(scale * static_cast<float>(scales[group]), to);
      put_half(-minimum * static_cast<float>(minima[group]), to + 2);
      const uint8_t* codes = block + 16 + group / 2 * kBlock;
      const size_t shift = group % 2 * 4;
      put_nibbles([&](size_t c) { return codes[c] >> shift & 15; }, to + 4);
    }
  }
}

}  // namespace hydrofoil::kernels
