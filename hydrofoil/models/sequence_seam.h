// SPDX-License-Identifier: Apache-2.0
// Where a program leaves its rank: attention over sequences of which each rank has a part. All
// else that a program does, it does token by token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hydrofoil::models {

struct Attention;

// Which tokens of its sequences a batch holds: those from `first` on.
struct SequencePart {
  int64_t first = 0;
  int64_t length = 0;  // of the whole sequences; 0: they end with these tokens
  int64_t whole(int64_t tokens) const { return length > 0 ? length : first + tokens; }
};

class SequenceSeam {
 public:
  virtual ~SequenceSeam() = default;
  // q [B, T, heads, D], k and v [B, T, kv_heads, D] of this rank's T tokens -> [B, T, heads, D],
  // with gradients. Collective, in backward too.
  virtual at::Tensor mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const Attention& attention, const SequencePart& part) const = 0;
};

}  // namespace hydrofoil::models
