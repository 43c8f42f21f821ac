// SPDX-License-Identifier: Apache-2.0
// Scores, softmax and weighted values of a chunk of at most 256 keys, for a few rows that share
// them.
#include "hydrofoil/kernels/attention_tiers.h"
#include "hydrofoil/kernels/wide.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

constexpr float kUnseen = -1e30f;

// As many rows as leave their sums in registers; few of them take more keys and values at once, so
// that sums do not wait for each other.
constexpr bool kManyRegisters = kVecBytes == 64;
constexpr size_t kMostRows = kManyRegisters ? 8 : 4;
constexpr size_t pages_at_once(size_t rows) {
  return kManyRegisters && rows <= 4 ? 2 : 1;
}
constexpr size_t wides_at_once(size_t rows) {
  return kManyRegisters ? (rows <= 4 ? 4 : 2) : 1;
}

// Bytes have a scale for each position, in front of them.
template <class Stored>
constexpr bool kHasScales = sizeof(Stored) == 1;
HYDROFOIL_LANES Wide scales_of(const void* page) {
  return load_wide(static_cast<const float*>(page));
}
template <class Stored>
HYDROFOIL_LANES const Stored* elements_of(const void* page) {
  if constexpr (kHasScales<Stored>)
    return reinterpret_cast<const Stored*>(static_cast<const float*>(page) + kPageKeys);
  else
    return static_cast<const Stored*>(page);
}

template <class Stored, size_t kRows, size_t kPages>
HYDROFOIL_LANES void scores_of(const AttentionChunk& chunk, const QueryRow* rows, size_t page,
                               float (&scores)[kRows][kChunkKeys]) {
  const Stored* keys[kPages];
  for (size_t p = 0; p < kPages; ++p) keys[p] = elements_of<Stored>(chunk.key_pages[page + p]);
  Wide sums[kRows][kPages];
  for (auto& row : sums)
    for (Wide& sum : row) sum = wide(0);
  for (size_t d = 0; d < chunk.head_dim; ++d) {
    Wide key[kPages];
    for (size_t p = 0; p < kPages; ++p) key[p] = load_wide(keys[p] + d * kPageKeys);
    for (size_t r = 0; r < kRows; ++r) {
      const Wide query = wide(rows[r].query[d]);
      for (size_t p = 0; p < kPages; ++p) sums[r][p] = fma(key[p], query, sums[r][p]);
    }
  }
  for (size_t p = 0; p < kPages; ++p) {
    Wide scales;
    if constexpr (kHasScales<Stored>) scales = scales_of(chunk.key_pages[page + p]);
    for (size_t r = 0; r < kRows; ++r) {
      if constexpr (kHasScales<Stored>) sums[r][p] = sums[r][p] * scales;
      store_wide(scores[r] + (page + p) * kPageKeys, sums[r][p]);
    }
  }
}

// Scores of a row to weights e^(score - largest), in place, 0 where unseen.
HYDROFOIL_LANES void weights_of(const QueryRow& row, float softcap, size_t pages, float* scores,
                                float* largest, float* divisor) {
  const auto masked = [&](size_t first, const Wide& v, float unseen) {
    if (row.begin <= first && first + kWide <= row.end) return v;
    alignas(64) float lanes[kWide];
    store_wide(lanes, v);
    for (size_t i = 0; i < kWide; ++i)
      if (first + i < row.begin || first + i >= row.end) lanes[i] = unseen;
    return load_wide(lanes);
  };
  Wide top = wide(kUnseen);
  for (size_t first = 0; first < pages * kPageKeys; first += kWide) {
    Wide v = load_wide(scores + first);
    if (softcap != 0) v = wide(softcap) * hyperbolic_tangent(v * wide(1 / softcap));
    if (row.bias) v = v + load_wide(row.bias + first);
    v = masked(first, v, kUnseen);
    store_wide(scores + first, v);
    top = larger(top, v);
  }
  *largest = largest_of(top);
  Wide total = wide(0);
  for (size_t first = 0; first < pages * kPageKeys; first += kWide) {
    const Wide weight = masked(first, exponential(load_wide(scores + first) - wide(*largest)), 0);
    store_wide(scores + first, weight);
    total = total + weight;
  }
  *divisor = sum_of(total);
}

// Weights take over the scales of the values they meet.
template <size_t kRows>
HYDROFOIL_LANES void scale_weights(const AttentionChunk& chunk, size_t pages,
                                   float (&weights)[kRows][kChunkKeys]) {
  for (size_t page = 0; page < pages; ++page) {
    const Wide scales = scales_of(chunk.value_pages[page]);
    for (size_t r = 0; r < kRows; ++r) {
      float* of_page = weights[r] + page * kPageKeys;
      store_wide(of_page, load_wide(of_page) * scales);
    }
  }
}

// out[r][d .. d + 16 n) = sum of weights times values.
template <class Stored, size_t kRows, size_t kWides>
HYDROFOIL_LANES void values_of(const AttentionChunk& chunk,
                               const float (&weights)[kRows][kChunkKeys], size_t keys, size_t d,
                               float* out) {
  Wide sums[kRows][kWides];
  for (auto& row : sums)
    for (Wide& sum : row) sum = wide(0);
  for (size_t key = 0; key < keys; ++key) {
    const auto* values = elements_of<Stored>(chunk.value_pages[key / kPageKeys]) +
                         key % kPageKeys * chunk.head_dim + d;
    Wide value[kWides];
    for (size_t w = 0; w < kWides; ++w) value[w] = load_wide(values + w * kWide);
    for (size_t r = 0; r < kRows; ++r)
      for (size_t w = 0; w < kWides; ++w)
        sums[r][w] = fma(value[w], wide(weights[r][key]), sums[r][w]);
  }
  for (size_t r = 0; r < kRows; ++r)
    for (size_t w = 0; w < kWides; ++w)
      store_wide(out + r * partial_size(chunk.head_dim) + d + w * kWide, sums[r][w]);
}

template <class Stored, size_t kRows>
HYDROFOIL_LANES void attend_rows(const AttentionChunk& chunk, const QueryRow* rows, float* out) {
  alignas(64) float scores[kRows][kChunkKeys];
  size_t keys = 0;
  for (size_t r = 0; r < kRows; ++r) keys = rows[r].end > keys ? rows[r].end : keys;
  const size_t pages = (keys + kPageKeys - 1) / kPageKeys;
  constexpr size_t kPages = pages_at_once(kRows), kWides = wides_at_once(kRows);
  size_t page = 0;
  for (; page + kPages <= pages; page += kPages)
    scores_of<Stored, kRows, kPages>(chunk, rows, page, scores);
  for (; page < pages; ++page) scores_of<Stored, kRows, 1>(chunk, rows, page, scores);
  for (size_t r = 0; r < kRows; ++r) {
    float* end = out + r * partial_size(chunk.head_dim) + chunk.head_dim;
    weights_of(rows[r], chunk.softcap, pages, scores[r], end, end + 1);
  }
  if constexpr (kHasScales<Stored>) scale_weights(chunk, pages, scores);
  size_t d = 0;
  for (; d + kWides * kWide <= chunk.head_dim; d += kWides * kWide)
    values_of<Stored, kRows, kWides>(chunk, scores, keys, d, out);
  for (; d + kWide <= chunk.head_dim; d += kWide)
    values_of<Stored, kRows, 1>(chunk, scores, keys, d, out);
}

template <class Stored, size_t kRows = kMostRows>
HYDROFOIL_LANES void attend_all(const AttentionChunk& chunk, const QueryRow* rows, size_t count,
                                float* out) {
  for (; count >= kRows; count -= kRows, rows += kRows, out += kRows * partial_size(chunk.head_dim))
    attend_rows<Stored, kRows>(chunk, rows, out);
  if constexpr (kRows > 1) attend_all<Stored, kRows - 1>(chunk, rows, count, out);
}

}  // namespace

void attend_f32(const AttentionChunk& chunk, size_t rows, float* out) {
  attend_all<float>(chunk, chunk.rows, rows, out);
}
void attend_bf16(const AttentionChunk& chunk, size_t rows, float* out) {
  attend_all<uint16_t>(chunk, chunk.rows, rows, out);
}
void attend_i8(const AttentionChunk& chunk, size_t rows, float* out) {
  attend_all<int8_t>(chunk, chunk.rows, rows, out);
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
