// SPDX-License-Identifier: Apache-2.0
// Writes a ModelSpec as the config.json that transformers reads.
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::spec {
namespace {

using Json = nlohmann::ordered_json;

const char* activation_name(Activation activation) {
  switch (activation) {
    case Activation::kGeluTanh:
      return "gelu_pytorch_tanh";
    case Activation::kGelu:
      return "gelu";
    case Activation::kSilu:
      return "silu";
  }
  throw std::logic_error("activation_name: not an activation");
}

Json gpt2_config(const ModelSpec& s) {
  return {{"architectures", {"GPT2LMHeadModel"}},
          {"model_type", "gpt2"},
          {"vocab_size", s.vocab_size},
          {"n_positions", s.max_positions},
          {"n_embd", s.hidden_size},
          {"n_layer", s.layers},
          {"n_head", s.heads},
          {"n_inner", s.intermediate_size},
          {"activation_function", activation_name(s.activation)},
          // Written out: absent, HF would train with 0.1.
          {"resid_pdrop", 0.0},
          {"embd_pdrop", 0.0},
          {"attn_pdrop", 0.0},
          {"layer_norm_epsilon", s.norm_epsilon},
          {"initializer_range", s.initializer_range},
          {"tie_word_embeddings", s.tied_head}};
}

Json llama_config(const ModelSpec& s) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", s.vocab_size},
          {"hidden_size", s.hidden_size},
          {"intermediate_size", s.intermediate_size},
          {"num_hidden_layers", s.layers},
          {"num_attention_heads", s.heads},
          {"num_key_value_heads", s.kv_heads},
          {"head_dim", s.head_dim},
          {"hidden_act", activation_name(s.activation)},
          {"max_position_embeddings", s.max_positions},
          {"rms_norm_eps", s.norm_epsilon},
          {"rope_theta", s.rope_theta},
          {"attention_bias", s.attention_bias},
          {"mlp_bias", s.mlp_bias},
          {"initializer_range", s.initializer_range},
          {"tie_word_embeddings", s.tied_head}};
}

}  // namespace

std::string hf_config(const ModelSpec& spec) {
  if (spec.family == "gpt2") return gpt2_config(spec).dump(2) + "\n";
  if (spec.family == "llama") return llama_config(spec).dump(2) + "\n";
  throw std::logic_error("hf_config: no such model family: " + spec.family);
}

}  // namespace hydrofoil::spec
