// SPDX-License-Identifier: Apache-2.0
// Causal self-attention with grouped heads and, where the model has them, rotary positions.
#pragma once

#include <ATen/core/Tensor.h>

#include "hydrofoil/models/layers.h"
#include "hydrofoil/models/rotary.h"

namespace hydrofoil::models {

struct Attention {
  Linear qkv;  // one weight for all three; undefined when they are separate
  Linear q, k, v;
  Linear output;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  const RotaryTable* rotary = nullptr;  // null: positions were added to the embedding
};

// Keys and values of the positions so far, for generation.
struct KeyValues {
  at::Tensor keys, values;  // [B, kv_heads, positions, D]
  int64_t positions() const { return keys.defined() ? keys.size(2) : 0; }
};

// x [B, T, H] -> [B, T, H]. With a cache, x continues it (T = 1, unless it is empty) and is added.
at::Tensor attend(const at::Tensor& x, const Attention& attention, KeyValues* cache = nullptr);

}  // namespace hydrofoil::models
