// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/kernels/k_scales.h"
#include "hydrofoil/kernels/quantize_block.h"

namespace hydrofoil::kernels {
namespace {

constexpr size_t kBlock = 32;  // elements

// Halves away from zero; without a call, so that loops become vectors.
int rounded(float value) {
  const float size = std::abs(value);
  const int whole = static_cast<int>(size),
            nearest = whole + static_cast<int>(2 * (size - static_cast<float>(whole)));
  return value < 0 ? -nearest : nearest;
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

// Bit c: the fifth of column c.
template <class Code>
void put_fifth_bits(const Code& code, std::byte* to) {
  uint32_t bits = 0;
  for (size_t c = 0; c < kBlock; ++c) bits |= static_cast<uint32_t>(code(c) >> 4) << c;
  std::memcpy(to, &bits, sizeof bits);
}

// Of 4 bits, or of 5: the fifth ones come first.
template <int kMost, class Code>
void put_codes(const Code& code, std::byte* to) {
  if constexpr (kMost == 31) {
    put_fifth_bits(code, to);
    to += sizeof(uint32_t);
  }
  put_nibbles([&](size_t c) { return code(c) & 15; }, to);
}

// Q4_0 and Q5_0.
template <int kMost>
void q_0(const float* x, std::byte* out) {
  Codes<kMost> codes;
  const Fit fit = closest_symmetric<kBlock>(x, codes);
  put_half(fit.scale, out);
  put_codes<kMost>([&](size_t c) { return codes(x[c]); }, out + 2);
}

// Q4_1 and Q5_1: usually the lowest and the highest become 0 and the largest code.
template <int kMost>
void q_1(const float* x, std::byte* out) {
  const auto [low, high] = std::minmax_element(x, x + kBlock);
  const float lowest = *low;
  Codes<kMost> codes;
  const Fit fit = closest<Form::kMinimum, kBlock>(
      x, inverse((*high - lowest) / kMost), [&](float factor) { return 0.5f - lowest * factor; },
      codes);
  const bool varies = std::isfinite(fit.error);
  put_half(varies ? fit.scale : 0, out);
  put_half(varies ? fit.minimum : lowest, out + 2);
  put_codes<kMost>([&](size_t c) { return codes(x[c]); }, out + 4);
}

template <class Block>
void each_block(GgmlType type, std::span<const float> values, std::span<std::byte> out,
                const Block& block) {
  const auto& layout = layout_of(type);
  const size_t elements = layout.block_elements, count = values.size() / elements;
  if (values.size() % elements != 0 || out.size() != count * layout.block_bytes)
    throw std::logic_error("quantize: sizes that do not match");
  for (size_t b = 0; b < count; ++b)
    block(values.data() + b * elements, out.data() + b * layout.block_bytes);
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
      return each_block(type, values, out, q_0<15>);
    case GgmlType::kQ4_1:
      return each_block(type, values, out, q_1<15>);
    case GgmlType::kQ5_0:
      return each_block(type, values, out, q_0<31>);
    case GgmlType::kQ5_1:
      return each_block(type, values, out, q_1<31>);
    case GgmlType::kQ4_K:
      return each_block(type, values, out, quantize_q4_k);
    case GgmlType::kQ5_K:
      return each_block(type, values, out, quantize_q5_k);
    case GgmlType::kQ6_K:
      return each_block(type, values, out, quantize_q6_k);
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
