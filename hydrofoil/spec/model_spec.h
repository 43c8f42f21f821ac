// SPDX-License-Identifier: Apache-2.0
// A model as data: what a Hugging Face config.json says, in one form for every executor and
// planner.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hydrofoil/core/box.h"
#include "hydrofoil/core/dtype.h"
#include "hydrofoil/kernels/activation.h"

namespace hydrofoil::spec {

enum class Norm : uint8_t { kLayerNorm, kRmsNorm };
enum class Positions : uint8_t { kLearned, kRotary, kAlibi };
using kernels::Activation;

// Where a layer's norms stand: before attention and feed-forward; after the residual sum
// (OPT-350m); before, and once more on what each adds to the residual stream (Gemma 2, GLM-4).
enum class NormPlacement : uint8_t { kBefore, kAfter, kAround };
// kParallel: attention and feed-forward both read the layer's input, each through its own norm
// (GPT-NeoX) or through one (GPT-J).
enum class Residual : uint8_t { kSequential, kParallel, kParallelOneNorm };

// What the head makes of hidden states: the next token's logits, those of each (masked) token, or
// those of a sequence's classes.
enum class HeadKind : uint8_t { kNextToken, kMaskedToken, kClasses };

enum class RopeKind : uint8_t { kPlain, kLinear, kDynamic, kLlama3, kYarn };
// Frequencies of rotary positions beyond the trained length (transformers' rope_type).
struct RopeScaling {
  RopeKind kind = RopeKind::kPlain;
  double factor = 1;
  int64_t original_positions = 0;                // llama3, yarn: positions before scaling
  double low_frequency = 1, high_frequency = 4;  // llama3: low_freq_factor, high_freq_factor
  double beta_fast = 32, beta_slow = 1;          // yarn
  double attention_factor = 1;                   // yarn: scales cosines and sines
  bool truncate = true;                          // yarn: whole dimensions only

  friend bool operator==(const RopeScaling&, const RopeScaling&) = default;
};

struct ModelSpec {
  std::string family = {};  // HF model_type: "gpt2", "llama", ..
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
  double window_rope_theta = 0;  // of layers with the window, unscaled (Gemma 3); 0: as all
  Activation activation = Activation::kGeluTanh;
  bool gated_mlp = false;          // down(act(gate(x)) * up(x)) instead of down(act(up(x)))
  bool fused_qkv = false;          // one weight for q, k, v
  bool transposed_linear = false;  // weights stored [in, out] (GPT-2's Conv1D)
  bool attention_bias = false;     // of queries, keys, values and output
  bool mlp_bias = false;
  bool tied_head = true;  // the head is the token embedding
  double initializer_range = 0.02;

  NormPlacement norm_placement = NormPlacement::kBefore;
  Residual residual = Residual::kSequential;
  bool norm_unit_offset = false;    // norms scale by 1 + weight (Gemma)
  bool final_norm = true;           // a norm before the head
  bool embedding_norm = false;      // a norm after the embedding (BLOOM)
  double embedding_scale = 1;       // token embeddings are multiplied by it (Gemma: sqrt(hidden))
  int64_t embedding_size = 0;       // of a token, projected to hidden_size (OPT-350m); 0: the same
  int64_t position_offset = 0;      // learned positions: row of position 0 (OPT: 2)
  int64_t rotary_dim = 0;           // leading dimensions of a head that turn; 0: all
  bool rotary_interleaved = false;  // dimension 2i turns with 2i + 1, not i with i + rotary_dim / 2
  RopeScaling rope_scaling = {};
  bool alibi_before_scale = false;  // the bias, in bfloat16, is added before scaling (Falcon)
  bool qkv_by_group = false;   // fused rows per key-value head: its queries, key, value (GPT-NeoX)
  bool qkv_bias = false;       // of queries, keys and values only (Qwen2)
  bool qk_norm = false;        // an RMS norm on each head's queries and keys (Qwen3)
  bool fused_gate_up = false;  // one weight for gate and up (Phi-3)
  bool head_bias = false;      // GPT-J, Phi
  double attention_scale = 0;  // of scores; 0: 1 / sqrt(head_dim)
  double attention_softcap = 0;          // c * tanh(score / c); 0: none (Gemma 2)
  double logit_softcap = 0;              // the same of logits
  int64_t sliding_window = 0;            // keys a query sees, itself included; 0: all before it
  std::vector<bool> window_layers = {};  // which layers have the window; empty: all
  bool causal = true;                    // false: every token sees all of its sequence (encoders)
  int64_t token_types = 0;               // rows of the token-type embedding (BERT)
  HeadKind head = HeadKind::kNextToken;
  int64_t classes = 0;  // of HeadKind::kClasses

  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;

  // Numbers whose 0 means another field's value.
  int64_t token_size() const { return embedding_size ? embedding_size : hidden_size; }
  int64_t turning_dim() const { return rotary_dim ? rotary_dim : head_dim; }
  int64_t window_of(int64_t layer) const;  // sliding_window or 0
  // The longest sequence: max_positions, stretched where rotary scaling stretches it; without
  // learned or turned positions (ALiBi) there is none but that of sizes.
  int64_t position_limit() const;
};

enum class Init : uint8_t { kZeros, kOnes, kNormal };  // kNormal: N(0, deviation^2)

// What a parameter is for: programs find theirs by it, whatever the file calls them.
enum class Part : uint8_t {
  kTokens,
  kPositions,
  kTokenTypes,
  kEmbeddingNorm,
  kProjectIn,
  kAttentionNorm,
  kQkv,
  kQuery,
  kKey,
  kValue,
  kQueryNorm,
  kKeyNorm,
  kAttentionOutput,
  kAttentionAddNorm,  // of what attention adds (NormPlacement::kAround)
  kMlpNorm,
  kGate,
  kUp,
  kGateUp,
  kDown,
  kMlpAddNorm,
  kFinalNorm,
  kProjectOut,
  kHeadDense,  // before the last product: masked tokens (with a norm), classes
  kHeadNorm,
  kHead,
};

struct ParameterSpec {
  std::string name;  // HF name, as in the model's safetensors
  std::vector<int64_t> shape;
  Init init = Init::kNormal;
  double deviation = 0;
  bool decay = false;  // weight decay applies: matrices, not norms and biases
  Part part = Part::kTokens;
  bool bias = false;  // of the part; else its weight
  Box box = {};       // what of the logical tensor this is, which `shape` is the shape of
  bool tile = false;  // of rows (spec/units.h): one of several parameters of this name

  int64_t numel() const {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    return count;
  }
  const std::vector<int64_t>& whole_shape() const { return box.is_all() ? shape : box.whole; }
};

// Whether it belongs to a matrix product: a Linear module's weight or bias. A tied head's weight is
// the embedding's, which does not.
bool is_linear(const ParameterSpec& parameter);
// What operators see parameters as: those, and all others. Products are computed in the narrower.
struct ParameterTypes {
  DType others = DType::kF32, linear = others;
  DType of(const ParameterSpec& parameter) const { return is_linear(parameter) ? linear : others; }
};

// The grain of gathering, recompute and pipelining: the embedding, each layer, the head.
struct BlockSpec {
  std::string name;  // "embedding", "layers.0", .., "head"
  std::vector<ParameterSpec> parameters;
};

// From the text of a HF config.json (other model types than those of known_families are refused
// with the nearest known one). Error(kConfig) with the key for what is missing or contradictory.
// An absent key means what it means to HF; the sizes that shape the weights must be there. A
// setting that would change the model's results and is not implemented is refused by name.
ModelSpec model_spec_from_hf(const std::string& json_text, const std::string& where);
std::vector<std::string> known_families();  // model types
// The same encoder with a head for classes. Error(kConfig) for a decoder, or fewer than two.
ModelSpec with_classes(ModelSpec spec, int64_t classes);
// Settings of the same text that are read over and change training only (dropout), one line each,
// for the log.
std::vector<std::string> settings_not_applied(const std::string& json_text,
                                              const std::string& where);
// The config.json that gives this spec again (architectures, model_type, HF key names).
std::string hf_config(const ModelSpec& spec);

// Blocks in forward order. Initial values follow HF: normal(initializer_range), residual outputs of
// GPT-2 scaled by 1/sqrt(2 * layers), norms one (zero where they scale by 1 + weight), biases zero.
std::vector<BlockSpec> blocks(const ModelSpec& spec);
int64_t parameter_count(const ModelSpec& spec);
// Multiply-adds x 2 of one forward and backward pass for one token at sequence length T:
// 6 * (matrix parameters) + 12 * layers * heads * head_dim * (keys a query sees on average: T / 2,
// fewer under a window), for MFU. Matrix parameters are those a token is multiplied by: the head's
// too where it is tied, not the embedding's rows.
double flops_per_token(const ModelSpec& spec, int64_t sequence_length);

}  // namespace hydrofoil::spec
