// SPDX-License-Identifier: Apache-2.0
// Attention of a few query rows over a chunk of a paged cache, and the sum of chunks.
//
// A page holds 16 positions of one key-value head: keys [head_dim][16], values [16][head_dim],
// fp32, bf16 or int8; bytes have the fp32 scales of the 16 positions before them. Chunks begin at
// whole multiples of kChunkKeys, whatever a query sees of them, and are added in order: a row's
// result does not depend on how a prompt was cut, nor on its neighbours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::kernels {

constexpr size_t kPageKeys = 16, kChunkPages = 16, kChunkKeys = kPageKeys * kChunkPages;

// Of the keys or the values of a page.
constexpr size_t half_page_bytes(size_t head_dim, DType dtype) {
  return kPageKeys * (head_dim * size_of(dtype) + (dtype == DType::kI8 ? sizeof(float) : 0));
}

// A query row: keys [begin, end) are seen, counted from the chunk's first.
struct QueryRow {
  const float* query;  // [head_dim], scaled
  size_t begin, end;   // at most kChunkKeys
  const float* bias;   // [kChunkKeys], added to scores (ALiBi), or null
};
struct AttentionChunk {
  const QueryRow* rows;
  const void* const* key_pages;
  const void* const* value_pages;
  size_t head_dim;
  float softcap;  // of scores; 0: none
};

// A row's partial result: head_dim sums that are not divided yet, the largest score, the divisor.
constexpr size_t partial_size(size_t head_dim) {
  return head_dim + 2;
}

// out [rows][partial_size]. A row that sees nothing gets a divisor of 0.
void attend(const AttentionChunk& chunk, size_t rows, DType cache, float* out);
// into = both together; then out = the first sums over the divisor.
void merge_partial(float* into, const float* next, size_t head_dim);
void finish_partial(const float* partial, size_t head_dim, std::span<float> out);

}  // namespace hydrofoil::kernels
