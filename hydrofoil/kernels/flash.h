// SPDX-License-Identifier: Apache-2.0
// Attention of whole sequences and its derivatives, a tile of scores at a time (Dao et al. 2022).
//
// Numbers are fp32 or bf16, sums fp32; weights and gradients of scores are rounded to bf16 where
// the numbers are bf16 and the CPU multiplies pairs of those. A sequence's key-value head and the
// queries that share it are the work of one thread: results depend neither on threads nor on the
// rest of the batch. fp32 has the same bits on every tier.
#pragma once

#include <cstddef>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::kernels {

struct FlashShape {
  DType dtype;  // kF32 or kBF16
  size_t batch, heads, kv_heads, queries, keys;
  size_t head_dim;  // a multiple of 16
  float scale;      // of scores
  bool causal;      // query i sees keys up to i; as many queries as keys
};

// [batch][head][row][head_dim] of the shape's type: where the first number lies, and how many
// numbers lie from one to the next.
template <class Data>
struct FlashHeads {
  Data* data;
  size_t batch, head, row;
};
using ConstHeads = FlashHeads<const void>;
using NewHeads = FlashHeads<void>;

// out = softmax(scale q k^T) v; log_sums [batch][heads][queries]: the logarithm of each query's sum
// of exponentials.
void flash_forward(const FlashShape& shape, const ConstHeads& q, const ConstHeads& k,
                   const ConstHeads& v, const NewHeads& out, float* log_sums);

// What forward read and wrote, and the gradient of what it wrote.
struct FlashKept {
  ConstHeads q, k, v, out, grad_out;
  const float* log_sums;
};
void flash_backward(const FlashShape& shape, const FlashKept& kept, const NewHeads& grad_q,
                    const NewHeads& grad_k, const NewHeads& grad_v);

}  // namespace hydrofoil::kernels
