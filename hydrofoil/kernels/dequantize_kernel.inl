// SPDX-License-Identifier: Apache-2.0
// Block formats of GGUF. A format says in which order its fields lie, which bits of them make the
// small integer q of an element, and how scales make q a weight. Plain loops of 16 or 32 elements
// over one field: the compiler turns them into vectors of the tier.
//
// Products and sums round one by one (no fused operation), in the order of the Python package gguf.
#include "hydrofoil/kernels/dequantize_tiers.h"
#include "hydrofoil/kernels/k_scales.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

constexpr size_t kSmall = 32, kLarge = 256;  // elements of a block

// The 16 levels of the IQ4 formats.
constexpr int8_t kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};

HYDROFOIL_LANES float half_at(const uint8_t* bytes) {
  return from_f16(load_part<U16>(bytes, 2))[0];
}

template <class T>
HYDROFOIL_LANES T integer_at(const uint8_t* bytes) {
  T value;
  __builtin_memcpy(&value, bytes, sizeof value);
  return value;
}

// Each block of `bytes` bytes to its elements, by block(bytes, values).
template <size_t bytes, size_t elements, class Block>
HYDROFOIL_LANES void each_block(const uint8_t* blocks, size_t count, float* values,
                                const Block& block) {
  for (size_t i = 0; i < count; ++i) block(blocks + i * bytes, values + i * elements);
}

// 16 bytes hold 32 elements: the low halves first, then the high ones.
template <class Weight>
HYDROFOIL_LANES void nibbles(const uint8_t* bytes, float* values, const Weight& weight) {
  for (size_t j = 0; j < kSmall / 2; ++j) values[j] = weight(bytes[j] & 15);
  for (size_t j = 0; j < kSmall / 2; ++j) values[j + kSmall / 2] = weight(bytes[j] >> 4);
}

// The same with a fifth bit for each element.
template <class Weight>
HYDROFOIL_LANES void five_bits(const uint8_t* high, const uint8_t* bytes, float* values,
                               const Weight& weight) {
  const auto fifth = integer_at<uint32_t>(high);
  for (uint32_t j = 0; j < kSmall / 2; ++j)
    values[j] = weight(static_cast<int>((bytes[j] & 15u) | ((fifth >> j) & 1) << 4));
  for (uint32_t j = 0; j < kSmall / 2; ++j)
    values[j + 16] = weight(static_cast<int>((bytes[j] >> 4) | ((fifth >> (j + 16)) & 1) << 4));
}

// Q3_K: 16 scales of 6 bits in 12 bytes, less 32.
HYDROFOIL_LANES void six_bit_scales(const uint8_t* packed, int8_t (&scales)[16]) {
  for (size_t j = 0; j < 16; ++j) {
    const int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
    const int high = packed[8 + j % 4] >> (2 * (j / 4)) & 3;
    scales[j] = static_cast<int8_t>((low | high << 4) - 32);
  }
}

}  // namespace

void dequantize_q4_0(const uint8_t* blocks, size_t count, float* values) {
  each_block<18, kSmall>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b);
    nibbles(b + 2, out, [d](int q) { return d * static_cast<float>(q - 8); });
  });
}

void dequantize_q4_1(const uint8_t* blocks, size_t count, float* values) {
  each_block<20, kSmall>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b), m = half_at(b + 2);
    nibbles(b + 4, out, [d, m](int q) { return d * static_cast<float>(q) + m; });
  });
}

void dequantize_q5_0(const uint8_t* blocks, size_t count, float* values) {
  each_block<22, kSmall>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b);
    five_bits(b + 2, b + 6, out, [d](int q) { return d * static_cast<float>(q - 16); });
  });
}

void dequantize_q5_1(const uint8_t* blocks, size_t count, float* values) {
  each_block<24, kSmall>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b), m = half_at(b + 2);
    five_bits(b + 4, b + 8, out, [d, m](int q) { return d * static_cast<float>(q) + m; });
  });
}

void dequantize_q8_0(const uint8_t* blocks, size_t count, float* values) {
  each_block<34, kSmall>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b);
    for (size_t j = 0; j < kSmall; ++j)
      out[j] = static_cast<float>(static_cast<int8_t>(b[2 + j])) * d;
  });
}

// Fields: 16 scale and minimum nibbles, 64 bytes of four 2-bit numbers, two halves.
void dequantize_q2_k(const uint8_t* blocks, size_t count, float* values) {
  each_block<84, kLarge>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b + 80), minimum = half_at(b + 82);
    for (size_t group = 0; group < 16; ++group) {
      const uint8_t* q = b + 16 + group / 8 * 32 + group % 2 * 16;
      const unsigned shift = static_cast<unsigned>(group / 2 % 4 * 2);
      const float scale = d * static_cast<float>(b[group] & 15);
      const float less = minimum * static_cast<float>(b[group] >> 4);
      for (size_t j = 0; j < 16; ++j)
        out[group * 16 + j] = scale * static_cast<float>(q[j] >> shift & 3) - less;
    }
  });
}

// Fields: 32 bytes of third bits (set: no 4 is taken off), 64 of two bits, 12 of scales, a half.
void dequantize_q3_k(const uint8_t* blocks, size_t count, float* values) {
  each_block<110, kLarge>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b + 108);
    int8_t scales[16];
    six_bit_scales(b + 96, scales);
    for (size_t group = 0; group < 16; ++group) {
      const uint8_t *high = b + group % 2 * 16, *q = b + 32 + group / 8 * 32 + group % 2 * 16;
      const unsigned bit = static_cast<unsigned>(group / 2), shift = bit % 4 * 2;
      const float scale = d * static_cast<float>(scales[group]);
      for (size_t j = 0; j < 16; ++j)
        out[group * 16 + j] =
            scale * static_cast<float>((q[j] >> shift & 3) - ((high[j] >> bit & 1) ? 0 : 4));
    }
  });
}

// Fields: two halves, 12 bytes of scales and minima, 128 bytes of two 4-bit numbers.
void dequantize_q4_k(const uint8_t* blocks, size_t count, float* values) {
  each_block<144, kLarge>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b), minimum = half_at(b + 2);
    uint8_t scales[8], minima[8];
    scales_and_minima(b + 4, scales, minima);
    for (size_t group = 0; group < 8; ++group) {
      const uint8_t* q = b + 16 + group / 2 * 32;
      const unsigned shift = static_cast<unsigned>(group % 2 * 4);
      const float scale = d * static_cast<float>(scales[group]);
      const float less = minimum * static_cast<float>(minima[group]);
      for (size_t j = 0; j < 32; ++j)
        out[group * 32 + j] = scale * static_cast<float>(q[j] >> shift & 15) - less;
    }
  });
}

// Fields: as Q4_K, with 32 bytes of fifth bits before the 4-bit numbers.
void dequantize_q5_k(const uint8_t* blocks, size_t count, float* values) {
  each_block<176, kLarge>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b), minimum = half_at(b + 2);
    uint8_t scales[8], minima[8];
    scales_and_minima(b + 4, scales, minima);
    for (size_t group = 0; group < 8; ++group) {
      const uint8_t *high = b + 16, *q = b + 48 + group / 2 * 32;
      const unsigned bit = static_cast<unsigned>(group), shift = bit % 2 * 4;
      const float scale = d * static_cast<float>(scales[group]);
      const float less = minimum * static_cast<float>(minima[group]);
      for (size_t j = 0; j < 32; ++j)
        out[group * 32 + j] =
            scale * static_cast<float>((q[j] >> shift & 15) | (high[j] >> bit & 1) << 4) - less;
    }
  });
}

// Fields: 128 bytes of low nibbles, 64 of two high bits, 16 signed scales, a half.
void dequantize_q6_k(const uint8_t* blocks, size_t count, float* values) {
  each_block<210, kLarge>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b + 208);
    for (size_t group = 0; group < 16; ++group) {
      const size_t part = group / 2 % 4, odd = group % 2 * 16;
      const uint8_t* low = b + group / 8 * 64 + part % 2 * 32 + odd;
      const uint8_t* high = b + 128 + group / 8 * 32 + odd;
      const unsigned low_shift = static_cast<unsigned>(part / 2 * 4);
      const unsigned high_shift = static_cast<unsigned>(part * 2);
      const float scale = d * static_cast<float>(static_cast<int8_t>(b[192 + group]));
      for (size_t j = 0; j < 16; ++j)
        out[group * 16 + j] =
            scale * static_cast<float>(
                        ((low[j] >> low_shift & 15) | (high[j] >> high_shift & 3) << 4) - 32);
    }
  });
}

// Fields: an fp32 scale, 256 signed bytes, 16 sums that only products need.
void dequantize_q8_k(const uint8_t* blocks, size_t count, float* values) {
  each_block<292, kLarge>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = integer_at<float>(b);
    for (size_t j = 0; j < kLarge; ++j)
      out[j] = d * static_cast<float>(static_cast<int8_t>(b[4 + j]));
  });
}

void dequantize_iq4_nl(const uint8_t* blocks, size_t count, float* values) {
  each_block<18, kSmall>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b);
    nibbles(b + 2, out, [d](int q) { return d * static_cast<float>(kLevels[q]); });
  });
}

// Fields: a half, 8 times two high scale bits, 8 low scale nibbles, 128 bytes of nibbles.
void dequantize_iq4_xs(const uint8_t* blocks, size_t count, float* values) {
  each_block<136, kLarge>(blocks, count, values, [](const uint8_t* b, float* out) {
    const float d = half_at(b);
    const auto high = integer_at<uint16_t>(b + 2);
    for (size_t group = 0; group < 8; ++group) {
      const int low = b[4 + group / 2] >> (group % 2 * 4) & 15;
      const float scale = d * static_cast<float>((low | (high >> (2 * group) & 3) << 4) - 32);
      nibbles(b + 8 + group * 16, out + group * 32,
              [scale](int q) { return scale * static_cast<float>(kLevels[q]); });
    }
  });
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
