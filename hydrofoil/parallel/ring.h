// SPDX-License-Identifier: Apache-2.0
// Causal attention whose keys and values pass from rank to rank (Ring Attention, arXiv 2310.01889).
// A rank holds its own and one more block of them at a time, whatever the length of sequences.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::parallel {

struct Ring {
  comm::Communicator group;     // ranks in the order of their tokens
  std::vector<int64_t> tokens;  // of a sequence, by rank
  // [heads] int64: whose keys and values a head looks at; undefined: its own.
  at::Tensor kv_of_head;
  double scale = 1;  // of scores
};

// q [B, T, heads, D], keys beside values [B, T, kv_heads, 2 D] of this rank's T tokens ->
// [B, T, heads, D], with gradients. Rank r receives the blocks of the ranks before it, forward and
// backward; gradients of a block are summed in rank order. On a CPU. Collective, in backward too.
at::Tensor ring_attention(const Ring& ring, const at::Tensor& q, const at::Tensor& kv);

}  // namespace hydrofoil::parallel
