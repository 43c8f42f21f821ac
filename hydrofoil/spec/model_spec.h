// SPDX-License-Identifier: Apache-2.0
// A model as data: what a Hugging Face config.json says, in one form for every executor and
// planner.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hydrofoil::spec {

enum class Norm : uint8_t { kLayerNorm, kRmsNorm };
enum class Positions : uint8_t { kLearned, kRotary };
enum class Activation : uint8_t { kGeluTanh, kGelu, kSilu };

struct ModelSpec {
  std::string family;  // HF model_type: "gpt2", "llama"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate_size = 0;
  int64_t max_positions = 0;
  Norm norm = Norm::kLayerNorm;
  double norm_epsilon = 1e-5;
  Positions positions = Positions::kLearned;
  double rope_theta = 10000.0;
  Activation activation = Activation::kGeluTanh;
  bool gated_mlp = false;          // down(act(gate(x)) * up(x)) instead of down(act(up(x)))
  bool fused_qkv = false;          // one weight for q, k, v
  bool transposed_linear = false;  // weights stored [in, out] (GPT-2's Conv1D)
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tied_head = true;  // the head is the token embedding
  double initializer_range = 0.02;

  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

enum class Init : uint8_t { kZeros, kOnes, kNormal };  // kNormal: N(0, deviation^2)

struct ParameterSpec {
  std::string name;  // HF name, as in the model's safetensors
  std::vector<int64_t> shape;
  Init init = Init::kNormal;
  double deviation = 0;
  bool decay = false;  // weight decay applies: matrices, not norms and biases
};

// The grain of gathering, recompute and pipelining: the embedding, each layer, the head.
struct BlockSpec {
  std::string name;  // "embedding", "layers.0", .., "head"
  std::vector<ParameterSpec> parameters;
};

// From the text of a HF config.json (model_type gpt2 or llama; others are refused by name with the
// list of what is known). Error(kConfig) with the key for what is missing or contradictory.
// An absent key means what it means to HF; the sizes that shape the weights must be there. A
// setting that would change the model's results and is not implemented is refused by name.
ModelSpec model_spec_from_hf(const std::string& json_text, const std::string& where);
// Settings of the same text that are read over and change training only (dropout), one line each,
// for the log.
std::vector<std::string> settings_not_applied(const std::string& json_text,
                                              const std::string& where);
// The config.json that gives this spec again (architectures, model_type, HF key names).
std::string hf_config(const ModelSpec& spec);

// Blocks in forward order. Initial values follow HF: normal(initializer_range), residual outputs of
// GPT-2 scaled by 1/sqrt(2 * layers), norms one, biases zero.
std::vector<BlockSpec> blocks(const ModelSpec& spec);
int64_t parameter_count(const ModelSpec& spec);
// Multiply-adds x 2 of one forward and backward pass for one token at sequence length T:
// 6 * (matrix parameters) + 12 * layers * hidden * T / 2 (causal), for MFU. Matrix parameters are
// those a token is multiplied by: the head's too where it is tied, not the embedding's rows;
// hidden is heads * head_dim.
double flops_per_token(const ModelSpec& spec, int64_t sequence_length);

}  // namespace hydrofoil::spec
