// SPDX-License-Identifier: Apache-2.0
// What one micro-batch needs beside parameters, gradients and optimizer state.
#pragma once

#include <cstdint>

#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::plan {

// Elements a token that autograd keeps of one layer until its backward. H hidden, A = heads *
// head_dim, K = kv_heads * head_dim, I intermediate:
//   norms            H an input: one or two a layer, four where what is added has norms; H more
//                    where a norm gives the layer's output
//   attention        A + 2 K (queries, keys, values), A (output), heads (log-sum-exp); a fused
//                    weight whose queries turn A + K more, norms of queries and keys A + K
//   feed-forward     I (before the activation), gated 2 I (gate, up)
// What norms and activations give is made again (models/made.h).
// GPT-2: 2 H + 4 A + I + heads. Not counted here: what grows with the sequence's square.
int64_t layer_elements_per_token(const spec::ModelSpec& spec);

// What a stage of a pipeline has of it.
struct PassPart {
  int64_t layers = 0;  // 0: all
  bool embedding = true, head = true;
  int64_t kept = 1;     // micro-batches between forward and backward, those of all chunks
  int64_t put_off = 0;  // of these, that have only gradients of weights before them
  int64_t chunks = 1;   // that its layers are in
};

struct Pass {
  int64_t micro_batch = 1, sequence_length = 256;
  bool recompute = false;        // layers keep their inputs only
  int64_t unit_elements = 0;     // spec/units.h: the vocabulary's tiles
  int64_t mlp_rows = 0;          // tokens that a feed-forward works on at a time; 0: all
  bool inputs_in_files = false;  // with recompute, but for the buffers that they pass through
  int64_t sequence_ranks = 1;    // that share every sequence; then 1 A more a token and layer
  PassPart part = {};            // then hidden states on their way, too
};

// Largest sum at one time of saved activations and what the running operator makes, fp32. It lies
// at the loss (one chunk of logits, gradients of the head's input and of its matrix, a slice of the
// latter that is to be added), at the start of the backward of the last layer, or at its end (the
// embedding's gradient, with a tied head beside the head's). Logits are never held as a whole; of a
// matrix in tiles, nor are gradients.
uint64_t activation_bytes(const spec::ModelSpec& spec, const Pass& pass);

}  // namespace hydrofoil::plan
