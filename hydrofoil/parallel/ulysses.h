// SPDX-License-Identifier: Apache-2.0
// Some tokens of all heads for all tokens of some heads, and back: what ranks that share sequences
// do around attention (DeepSpeed-Ulysses, arXiv 2309.14509).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/parallel/head_shares.h"

namespace hydrofoil::parallel {

// How many tokens are whose, in their order, and which heads are whose work; by rank of the group.
// Heads may be the work of several ranks (keys and values that these share).
struct Exchange {
  comm::Communicator group;
  std::vector<int64_t> tokens;
  std::vector<Range> heads;
};

// x [B, T of this rank, all heads, D] -> [B, T of all ranks, heads of this rank, D]. Collective, in
// backward too: so are both.
at::Tensor to_heads(const Exchange& exchange, const at::Tensor& x);
// x [B, T of all ranks, heads of this rank, D] -> [B, T of this rank, `heads`, D]. What is the work
// of several ranks is summed in their order.
at::Tensor to_tokens(const Exchange& exchange, const at::Tensor& x, int64_t heads);

}  // namespace hydrofoil::parallel
