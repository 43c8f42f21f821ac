// SPDX-License-Identifier: Apache-2.0
// Models of known size.
#pragma once

#include <string>

#include "hydrofoil/plan/model.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::plan {

struct Sizes {
  int64_t hidden, layers, heads, kv_heads, intermediate, vocabulary, positions;
};

inline spec::ModelSpec gpt2(const Sizes& s) {
  return {.family = "gpt2",
          .vocab_size = s.vocabulary,
          .hidden_size = s.hidden,
          .layers = s.layers,
          .heads = s.heads,
          .kv_heads = s.heads,
          .head_dim = s.hidden / s.heads,
          .intermediate_size = s.intermediate,
          .max_positions = s.positions,
          .fused_qkv = true,
          .transposed_linear = true,
          .attention_bias = true,
          .mlp_bias = true};
}

inline spec::ModelSpec llama(const Sizes& s, bool tied_head = true) {
  return {.family = "llama",
          .vocab_size = s.vocabulary,
          .hidden_size = s.hidden,
          .layers = s.layers,
          .heads = s.heads,
          .kv_heads = s.kv_heads,
          .head_dim = s.hidden / s.heads,
          .intermediate_size = s.intermediate,
          .max_positions = s.positions,
          .norm = spec::Norm::kRmsNorm,
          .positions = spec::Positions::kRotary,
          .activation = spec::Activation::kSilu,
          .gated_mlp = true,
          .tied_head = tied_head};
}

inline spec::ModelSpec gpt2_small() {
  return gpt2({768, 12, 12, 12, 3072, 50257, 1024});
}
inline spec::ModelSpec gpt2_xl() {
  return gpt2({1600, 48, 25, 25, 6400, 50257, 1024});
}
inline spec::ModelSpec smollm2_135m() {
  return llama({576, 30, 9, 3, 1536, 49152, 8192});
}
inline spec::ModelSpec llama2_7b() {
  return llama({4096, 32, 32, 32, 11008, 32000, 4096}, /*tied_head=*/false);
}

}  // namespace hydrofoil::plan
