// SPDX-License-Identifier: Apache-2.0
// A tile of 32 rows times a few tokens (kernels/packed_matrix.h has the layout). Every lane is a
// row: a row's sum goes through the columns in order, so its bits depend on nothing else.
#include "hydrofoil/kernels/dot4.h"
#include "hydrofoil/kernels/product_tiers.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

constexpr size_t kRows = 32, kColumns = 32;   // of a tile, of a block
constexpr size_t kPacks = kRows / kF32Lanes;  // of 32-bit lanes that hold the rows
constexpr size_t kLine = kRows * 4;           // bytes: four columns of every row
constexpr size_t kScales = kRows * 2;         // bytes
constexpr size_t kAhead = 8192;               // bytes of the stream that are fetched early
// As many tokens as leave the sums in registers.
constexpr size_t kMostTokens = kVecBytes == 64 ? 6 : kVecBytes == 32 ? 2 : 1;

template <size_t kBytes>
HYDROFOIL_LANES void fetch_ahead(const uint8_t* from) {
  for (size_t i = 0; i < kBytes; i += 64) __builtin_prefetch(from + kAhead + i);
}

struct Q8 {
  static constexpr size_t kBlockBytes = 8 * kLine + kScales;
  static constexpr int32_t kOffset = 128;
  static constexpr bool kHasMinima = false;
  // visit(codes, column): codes of four columns from `column` on, of each pack of rows.
  template <class Visit>
  static HYDROFOIL_LANES void each(const uint8_t* block, const Visit& visit) {
    for (size_t group = 0; group < 8; ++group) {
      Bytes codes[kPacks];
      for (size_t p = 0; p < kPacks; ++p)
        codes[p] = load<Bytes>(block + group * kLine + p * kVecBytes);
      visit(codes, 4 * group);
    }
  }
};

template <bool minima>
struct Q4Codes {
  static constexpr size_t kBlockBytes = 4 * kLine + (minima ? 2 : 1) * kScales;
  static constexpr int32_t kOffset = minima ? 0 : 8;
  static constexpr bool kHasMinima = minima;
  template <class Visit>
  static HYDROFOIL_LANES void each(const uint8_t* block, const Visit& visit) {
    for (size_t group = 0; group < 4; ++group) {
      Bytes low[kPacks], high[kPacks];
      for (size_t p = 0; p < kPacks; ++p) {
        const auto both = load<Bytes>(block + group * kLine + p * kVecBytes);
        low[p] = both & 15;
        high[p] = (both >> 4) & 15;
      }
      visit(low, 4 * group);
      visit(high, kColumns / 2 + 4 * group);
    }
  }
};

template <class Format, size_t kTokens>
HYDROFOIL_LANES void multiply_bytes(const uint8_t* block, size_t columns, const ProductInput& x,
                                    float* out) {
  const size_t blocks = columns / kColumns;
  F32 sums[kTokens][kPacks] = {};
  for (size_t b = 0; b < blocks; ++b, block += Format::kBlockBytes) {
    fetch_ahead<Format::kBlockBytes>(block);
    I32 dots[kTokens][kPacks];
    for (size_t t = 0; t < kTokens; ++t)
      for (size_t p = 0; p < kPacks; ++p)
        dots[t][p] = I32{} - Format::kOffset * x.sums[t * blocks + b];
    Format::each(block, [&](const Bytes(&codes)[kPacks], size_t column) {
      for (size_t t = 0; t < kTokens; ++t) {
        const Four four = spread4(x.codes + t * columns + b * kColumns + column);
        for (size_t p = 0; p < kPacks; ++p) dots[t][p] = dot4(dots[t][p], codes[p], four);
      }
    });
    const uint8_t* scales = block + Format::kBlockBytes - (Format::kHasMinima ? 2 : 1) * kScales;
    for (size_t p = 0; p < kPacks; ++p) {
      const F32 scale = from_f16(load<U16>(scales + p * sizeof(U16)));
      F32 minimum = {};
      if constexpr (Format::kHasMinima)
        minimum = from_f16(load<U16>(scales + kScales + p * sizeof(U16)));
      for (size_t t = 0; t < kTokens; ++t) {
        const float of_token = x.scales[t * blocks + b];
        sums[t][p] =
            fma(__builtin_convertvector(dots[t][p], F32), scale * splat(of_token), sums[t][p]);
        if constexpr (Format::kHasMinima)
          sums[t][p] = fma(minimum, splat(of_token * static_cast<float>(x.sums[t * blocks + b])),
                           sums[t][p]);
      }
    }
  }
  for (size_t t = 0; t < kTokens; ++t)
    for (size_t p = 0; p < kPacks; ++p) store(out + t * kRows + p * kF32Lanes, sums[t][p]);
}

struct FloatWeights {
  static constexpr size_t kBytes = 4;
  static HYDROFOIL_LANES F32 at(const uint8_t* from) { return load<F32>(from); }
};
struct Bf16Weights {
  static constexpr size_t kBytes = 2;
  static HYDROFOIL_LANES F32 at(const uint8_t* from) { return from_bf16(load<U16>(from)); }
};

template <class Weights, size_t kTokens>
HYDROFOIL_LANES void multiply_floats(const uint8_t* column, size_t columns, const ProductInput& x,
                                     float* out) {
  F32 sums[kTokens][kPacks] = {};
  for (size_t c = 0; c < columns; ++c, column += kRows * Weights::kBytes) {
    fetch_ahead<kRows * Weights::kBytes>(column);
    F32 weights[kPacks];
    for (size_t p = 0; p < kPacks; ++p)
      weights[p] = Weights::at(column + p * kF32Lanes * Weights::kBytes);
    for (size_t t = 0; t < kTokens; ++t)
      for (size_t p = 0; p < kPacks; ++p)
        sums[t][p] = fma(weights[p], splat(x.floats[t * columns + c]), sums[t][p]);
  }
  for (size_t t = 0; t < kTokens; ++t)
    for (size_t p = 0; p < kPacks; ++p) store(out + t * kRows + p * kF32Lanes, sums[t][p]);
}

HYDROFOIL_LANES ProductInput from_token(const ProductInput& x, size_t token, size_t columns) {
  const size_t blocks = columns / kColumns;
  return {.floats = x.floats ? x.floats + token * columns : nullptr,
          .codes = x.codes ? x.codes + token * columns : nullptr,
          .scales = x.scales ? x.scales + token * blocks : nullptr,
          .sums = x.sums ? x.sums + token * blocks : nullptr};
}

// Calls part<n>(x, out) for groups of n tokens, none larger than kMostTokens and all alike.
template <size_t kTokens, class Part>
HYDROFOIL_LANES void with_tokens(size_t count, const Part& part) {
  if (count == kTokens) {
    part.template operator()<kTokens>();
  } else if constexpr (kTokens > 1) {
    with_tokens<kTokens - 1>(count, part);
  }
}
template <class Multiply>
HYDROFOIL_LANES void in_groups(size_t columns, const ProductInput& x, size_t count, float* out,
                               const Multiply& multiply) {
  const size_t groups = (count + kMostTokens - 1) / kMostTokens;
  for (size_t g = 0; g < groups; ++g) {
    const size_t begin = count * g / groups, end = count * (g + 1) / groups;
    const ProductInput part = from_token(x, begin, columns);
    with_tokens<kMostTokens>(end - begin, [&]<size_t kTokens>() {
      multiply.template operator()<kTokens>(part, out + begin * kRows);
    });
  }
}

}  // namespace

void product_f32(const uint8_t* tile, size_t columns, const ProductInput& x, size_t count,
                 float* out) {
  in_groups(columns, x, count, out, [&]<size_t kTokens>(const ProductInput& part, float* to) {
    multiply_floats<FloatWeights, kTokens>(tile, columns, part, to);
  });
}
void product_bf16(const uint8_t* tile, size_t columns, const ProductInput& x, size_t count,
                  float* out) {
  in_groups(columns, x, count, out, [&]<size_t kTokens>(const ProductInput& part, float* to) {
    multiply_floats<Bf16Weights, kTokens>(tile, columns, part, to);
  });
}
void product_q8(const uint8_t* tile, size_t columns, const ProductInput& x, size_t count,
                float* out) {
  in_groups(columns, x, count, out, [&]<size_t kTokens>(const ProductInput& part, float* to) {
    multiply_bytes<Q8, kTokens>(tile, columns, part, to);
  });
}
void product_q4(const uint8_t* tile, size_t columns, const ProductInput& x, size_t count,
                float* out) {
  in_groups(columns, x, count, out, [&]<size_t kTokens>(const ProductInput& part, float* to) {
    multiply_bytes<Q4Codes<false>, kTokens>(tile, columns, part, to);
  });
}
void product_q4_min(const uint8_t* tile, size_t columns, const ProductInput& x, size_t count,
                    float* out) {
  in_groups(columns, x, count, out, [&]<size_t kTokens>(const ProductInput& part, float* to) {
    multiply_bytes<Q4Codes<true>, kTokens>(tile, columns, part, to);
  });
}

namespace {

// The lanes of a pack to one, halves onto halves.
template <class T, class V, class Add>
HYDROFOIL_LANES T folded(const V& v, const Add& add) {
  if constexpr (sizeof(V) == 16) {
    return add(add(v[0], v[2]), add(v[1], v[3]));
  } else {
    typename PackOf<T, sizeof(V) / 2>::type halves[2];
    __builtin_memcpy(halves, &v, sizeof v);
    return folded<T>(add(halves[0], halves[1]), add);
  }
}

}  // namespace

void quantize_blocks(const float* x, size_t blocks, int8_t* codes, float* scales, int32_t* sums) {
  // Adding it leaves the nearest whole number, ties to even, in the low bits.
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23
  for (size_t b = 0; b < blocks; ++b, x += kColumns, codes += kColumns) {
    F32 top = {};
    for (size_t i = 0; i < kColumns; i += kF32Lanes) {
      const auto v = load<F32>(x + i);
      const F32 size = v < 0 ? -v : v;
      top = size > top ? size : top;
    }
    const float largest =
        folded<float>(top, [](const auto& one, const auto& two) { return one > two ? one : two; });
    const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
    I32 sum = {};
    for (size_t i = 0; i < kColumns; i += kF32Lanes) {
      const F32 shifted = load<F32>(x + i) * splat(inverse) + splat(kRound);
      const I32 code = (I32)shifted - (I32)splat(kRound);
      sum += code;
      typedef int8_t Narrow __attribute__((vector_size(kF32Lanes)));
      store(codes + i, __builtin_convertvector(code, Narrow));
    }
    scales[b] = largest / 127.0f;
    sums[b] = folded<int32_t>(sum, [](const auto& one, const auto& two) { return one + two; });
  }
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
