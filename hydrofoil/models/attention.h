// SPDX-License-Identifier: Apache-2.0
// Self-attention with grouped heads and, where the model has them, rotary positions, sliding
// windows, ALiBi, normalised queries and keys, capped scores.
#pragma once

#include <ATen/core/Tensor.h>

#include "hydrofoil/models/layers.h"
#include "hydrofoil/models/rotary.h"
#include "hydrofoil/models/sequence_seam.h"
#include "hydrofoil/models/visibility.h"

namespace hydrofoil::models {

struct Attention {
  Linear qkv;             // one weight for all three; undefined when they are separate
  bool by_group = false;  // its rows: per key-value head, the queries', the key's, the value's
  Linear q, k, v;
  Norm q_norm, k_norm;  // of each head; weights undefined: none
  Linear output;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  double scale = 0;                     // of scores; 0: 1 / sqrt(head_dim)
  double softcap = 0;                   // of scores; 0: none
  const RotaryTable* rotary = nullptr;  // null: no turned positions
  bool interleaved = false;             // how pairs that turn together lie
  bool causal = true;
  const Visibility* visibility = nullptr;  // of causal attention
  const SequenceSeam* seam = nullptr;      // null: sequences are whole
  const TensorSeam* tensor = nullptr;      // null: the matrices are whole
};

// x [B, T, H] -> [B, T, H]; x may be a part of sequences where a seam knows the rest. Attention
// that is not causal sees every key, or those that `seen` [B, 1, 1, T] bool marks.
at::Tensor attend(const Made& x, const Attention& attention, const SequencePart& part = {},
                  const at::Tensor& seen = {});

// The middle of it: q [B, T, heads, D], k and v [B, T, kv_heads, D] of whole sequences ->
// [B, T, heads, D]. Heads may be some of the model's, from `first_head` on.
at::Tensor mix_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const Attention& attention, int64_t first_head = 0,
                     const at::Tensor& seen = {});

}  // namespace hydrofoil::models
