// SPDX-License-Identifier: Apache-2.0
// Scores, softmax and weighted values of a chunk of at most 256 keys, for up to 4 rows that share
// them.
#include "hydrofoil/kernels/attention_tiers.h"
#include "hydrofoil/kernels/wide.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

constexpr float kUnseen = -1e30f;

template <class Stored, size_t kRows>
HYDROFOIL_LANES void scores_of(const AttentionChunk& chunk, const QueryRow* rows, size_t page,
                               float (&scores)[kRows][kChunkKeys]) {
  const auto* keys = static_cast<const Stored*>(chunk.key_pages[page]);
  Wide sums[kRows];
  for (size_t r = 0; r < kRows; ++r) sums[r] = wide(0);
  for (size_t d = 0; d < chunk.head_dim; ++d, keys += kPageKeys) {
    const Wide key = load_wide(keys);
    for (size_t r = 0; r < kRows; ++r) sums[r] = fma(key, wide(rows[r].query[d]), sums[r]);
  }
  for (size_t r = 0; r < kRows; ++r) store_wide(scores[r] + page * kPageKeys, sums[r]);
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

// out[r][d .. d + 16 n) = sum of weights times values.
template <class Stored, size_t kRows, size_t kWides>
HYDROFOIL_LANES void values_of(const AttentionChunk& chunk,
                               const float (&weights)[kRows][kChunkKeys], size_t keys, size_t d,
                               float* out) {
  Wide sums[kRows][kWides];
  for (auto& row : sums)
    for (Wide& sum : row) sum = wide(0);
  for (size_t key = 0; key < keys; ++key) {
    const auto* values = static_cast<const Stored*>(chunk.value_pages[key / kPageKeys]) +
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
  for (size_t page = 0; page < pages; ++page) scores_of<Stored, kRows>(chunk, rows, page, scores);
  for (size_t r = 0; r < kRows; ++r) {
    float* end = out + r * partial_size(chunk.head_dim) + chunk.head_dim;
    weights_of(rows[r], chunk.softcap, pages, scores[r], end, end + 1);
  }
  size_t d = 0;
  for (; d + 4 * kWide <= chunk.head_dim; d += 4 * kWide)
    values_of<Stored, kRows, 4>(chunk, scores, keys, d, out);
  for (; d + kWide <= chunk.head_dim; d += kWide)
    values_of<Stored, kRows, 1>(chunk, scores, keys, d, out);
}

template <class Stored>
HYDROFOIL_LANES void attend_all(const AttentionChunk& chunk, size_t rows, float* out) {
  size_t r = 0;
  const size_t stride = partial_size(chunk.head_dim);
  for (; r + 4 <= rows; r += 4) attend_rows<Stored, 4>(chunk, chunk.rows + r, out + r * stride);
  switch (rows - r) {
    case 3:
      return attend_rows<Stored, 3>(chunk, chunk.rows + r, out + r * stride);
    case 2:
      return attend_rows<Stored, 2>(chunk, chunk.rows + r, out + r * stride);
    case 1:
      return attend_rows<Stored, 1>(chunk, chunk.rows + r, out + r * stride);
  }
}

}  // namespace

void attend_f32(const AttentionChunk& chunk, size_t rows, float* out) {
  attend_all<float>(chunk, rows, out);
}
void attend_bf16(const AttentionChunk& chunk, size_t rows, float* out) {
  attend_all<uint16_t>(chunk, rows, out);
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
