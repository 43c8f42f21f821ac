// SPDX-License-Identifier: Apache-2.0
// The parameters of each model family, block by block, under their Hugging Face names.
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::spec {
namespace {

// Collects the parameters of one block; names are relative to its prefix.
class BlockWriter {
 public:
  BlockWriter(std::string block, std::string prefix) : prefix_(std::move(prefix)) {
    block_.name = std::move(block);
  }

  void matrix(const std::string& name, int64_t rows, int64_t columns, double deviation) {
    block_.parameters.push_back({prefix_ + name, {rows, columns}, Init::kNormal, deviation, true});
  }
  void vector(const std::string& name, int64_t size, Init init) {
    block_.parameters.push_back({prefix_ + name, {size}, init, 0, false});
  }
  void layer_norm(const std::string& name, int64_t size) {
    vector(name + ".weight", size, Init::kOnes);
    vector(name + ".bias", size, Init::kZeros);
  }
  void rms_norm(const std::string& name, int64_t size) {
    vector(name + ".weight", size, Init::kOnes);
  }
  BlockSpec take() { return std::move(block_); }

 private:
  BlockSpec block_;
  std::string prefix_;
};

BlockSpec gpt2_layer(const ModelSpec& s, int64_t layer) {
  BlockWriter block("layers." + std::to_string(layer),
                    "transformer.h." + std::to_string(layer) + ".");
  const double normal = s.initializer_range;
  // Each layer adds two outputs to the residual stream.
  const double residual = normal / std::sqrt(2.0 * static_cast<double>(s.layers));
  const auto conv1d = [&](const std::string& name, int64_t in, int64_t out, double deviation) {
    block.matrix(name + ".weight", in, out, deviation);
    block.vector(name + ".bias", out, Init::kZeros);
  };
  block.layer_norm("ln_1", s.hidden_size);
  conv1d("attn.c_attn", s.hidden_size, 3 * s.hidden_size, normal);
  conv1d("attn.c_proj", s.hidden_size, s.hidden_size, residual);
  block.layer_norm("ln_2", s.hidden_size);
  conv1d("mlp.c_fc", s.hidden_size, s.intermediate_size, normal);
  conv1d("mlp.c_proj", s.intermediate_size, s.hidden_size, residual);
  return block.take();
}

std::vector<BlockSpec> gpt2_blocks(const ModelSpec& s) {
  std::vector<BlockSpec> result;
  BlockWriter embedding("embedding", "transformer.");
  embedding.matrix("wte.weight", s.vocab_size, s.hidden_size, s.initializer_range);
  embedding.matrix("wpe.weight", s.max_positions, s.hidden_size, s.initializer_range);
  result.push_back(embedding.take());
  for (int64_t layer = 0; layer < s.layers; ++layer) result.push_back(gpt2_layer(s, layer));
  BlockWriter head("head", "");
  head.layer_norm("transformer.ln_f", s.hidden_size);
  if (!s.tied_head) head.matrix("lm_head.weight", s.vocab_size, s.hidden_size, s.initializer_range);
  result.push_back(head.take());
  return result;
}

BlockSpec llama_layer(const ModelSpec& s, int64_t layer) {
  BlockWriter block("layers." + std::to_string(layer),
                    "model.layers." + std::to_string(layer) + ".");
  const auto linear = [&](const std::string& name, int64_t in, int64_t out, bool bias) {
    block.matrix(name + ".weight", out, in, s.initializer_range);
    if (bias) block.vector(name + ".bias", out, Init::kZeros);
  };
  const int64_t queries = s.heads * s.head_dim, keys = s.kv_heads * s.head_dim;
  block.rms_norm("input_layernorm", s.hidden_size);
  linear("self_attn.q_proj", s.hidden_size, queries, s.attention_bias);
  linear("self_attn.k_proj", s.hidden_size, keys, s.attention_bias);
  linear("self_attn.v_proj", s.hidden_size, keys, s.attention_bias);
  linear("self_attn.o_proj", queries, s.hidden_size, s.attention_bias);
  block.rms_norm("post_attention_layernorm", s.hidden_size);
  linear("mlp.gate_proj", s.hidden_size, s.intermediate_size, s.mlp_bias);
  linear("mlp.up_proj", s.hidden_size, s.intermediate_size, s.mlp_bias);
  linear("mlp.down_proj", s.intermediate_size, s.hidden_size, s.mlp_bias);
  return block.take();
}

std::vector<BlockSpec> llama_blocks(const ModelSpec& s) {
  std::vector<BlockSpec> result;
  BlockWriter embedding("embedding", "model.");
  embedding.matrix("embed_tokens.weight", s.vocab_size, s.hidden_size, s.initializer_range);
  result.push_back(embedding.take());
  for (int64_t layer = 0; layer < s.layers; ++layer) result.push_back(llama_layer(s, layer));
  BlockWriter head("head", "");
  head.rms_norm("model.norm", s.hidden_size);
  if (!s.tied_head) head.matrix("lm_head.weight", s.vocab_size, s.hidden_size, s.initializer_range);
  result.push_back(head.take());
  return result;
}

int64_t numel(const ParameterSpec& parameter) {
  int64_t count = 1;
  for (const int64_t size : parameter.shape) count *= size;
  return count;
}

}  // namespace

std::vector<BlockSpec> blocks(const ModelSpec& spec) {
  if (spec.family == "gpt2") return gpt2_blocks(spec);
  if (spec.family == "llama") return llama_blocks(spec);
  throw std::logic_error("blocks: no such model family: " + spec.family);
}

int64_t parameter_count(const ModelSpec& spec) {
  int64_t count = 0;
  for (const auto& block : blocks(spec))
    for (const auto& parameter : block.parameters) count += numel(parameter);
  return count;
}

double flops_per_token(const ModelSpec& spec, int64_t sequence_length) {
  int64_t matrices = spec.vocab_size * spec.hidden_size;  // the head, tied or not
  for (const auto& block : blocks(spec))
    if (block.name != "embedding" && block.name != "head")
      for (const auto& parameter : block.parameters)
        if (parameter.shape.size() == 2) matrices += numel(parameter);
  const double attention = static_cast<double>(spec.layers * spec.heads * spec.head_dim) *
                           static_cast<double>(sequence_length);
  return 6.0 * static_cast<double>(matrices) + 12.0 * attention / 2;
}

}  // namespace hydrofoil::spec
