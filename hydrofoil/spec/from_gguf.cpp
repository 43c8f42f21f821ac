// SPDX-License-Identifier: Apache-2.0
// Reads a model from GGUF metadata. Keys and their defaults are those that llama.cpp reads and
// writes.
#include "hydrofoil/spec/from_gguf.h"

#include <array>
#include <charconv>
#include <cmath>
#include <set>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/safetensors.h"
#include "hydrofoil/spec/family.h"
#include "hydrofoil/spec/fields.h"

namespace hydrofoil::spec {
namespace {

// Typed access to "ARCHITECTURE.key".
class Keys {
 public:
  Keys(const io::GgufHeader& header, const std::string& where, std::string architecture)
      : header_(header), where_(where), architecture_(std::move(architecture)) {}

  [[noreturn]] void refuse(const std::string& message, const std::string& hint = {}) const {
    throw Error(ExitCode::kConfig, message, where_, hint);
  }
  std::string full(const char* key) const { return architecture_ + "." + key; }
  const io::GgufValue* find(const char* key) const { return header_.find(full(key)); }

  int64_t size(const char* key, int64_t max = kMaxSize) const {
    if (!find(key)) refuse(full(key) + " is missing", "it shapes the weights");
    return size_or(key, 0, max);
  }
  int64_t size_or(const char* key, int64_t absent, int64_t max = kMaxSize) const {
    const io::GgufValue* value = find(key);
    if (!value) return absent;
    const auto number = io::as_integer(value);
    if (!number || *number < 1 || *number > max)
      refuse(full(key) + " must be a whole number from 1 to " + std::to_string(max) +
             (number ? ", not " + std::to_string(*number) : ""));
    return *number;
  }
  double positive_or(const char* key, double absent) const {
    const io::GgufValue* value = find(key);
    if (!value) return absent;
    const auto number = io::as_number(value);
    if (!number || !std::isfinite(*number) || *number <= 0)
      refuse(full(key) + " must be a number above 0");
    return value->kind == io::GgufKind::kF32 ? shortest(static_cast<float>(*number)) : *number;
  }

 private:
  // The number that was meant: 1e-5 is stored as the nearest fp32, but is 1e-5 in a config.json.
  static double shortest(float value) {
    std::array<char, 32> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
    double result = value;
    std::from_chars(text.data(), end, result);
    return result;
  }

  const io::GgufHeader& header_;
  const std::string& where_;
  std::string architecture_;
};

bool has_tensor(const io::GgufHeader& header, const std::string& name) {
  for (const io::GgufTensor& tensor : header.tensors)
    if (tensor.name == name) return true;
  return false;
}

int64_t vocabulary_size(const io::GgufHeader& header, const Keys& keys) {
  for (const io::GgufTensor& tensor : header.tensors)
    if (tensor.name == "token_embd.weight" && tensor.shape.size() == 2) {
      const int64_t rows = tensor.shape[0];
      if (rows < 1 || rows > kMaxSize || keys.size_or("vocab_size", rows) != rows)
        keys.refuse("token_embd.weight is " + io::shape_text(tensor.shape) + ", but " +
                    keys.full("vocab_size") + " is another number than its rows");
      return rows;
    }
  keys.refuse("has no tensor 'token_embd.weight' of 2 dims");
}

// What would change the results and is not implemented.
void refuse_unsupported(const io::GgufHeader& header, const Keys& keys) {
  for (const char* key : {"expert_count", "expert_used_count", "attention.sliding_window"})
    if (const auto value = io::as_integer(keys.find(key)); value && *value != 0)
      keys.refuse(keys.full(key) + " " + std::to_string(*value) + " is not supported");
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping", "logit_scale",
                          "embedding_scale", "residual_scale", "attention.scale"})
    if (keys.find(key)) keys.refuse(keys.full(key) + " is not supported");
  const auto* scaling = io::as_text(keys.find("rope.scaling.type"));
  if ((scaling && *scaling != "none") || (!scaling && keys.find("rope.scaling.type")))
    keys.refuse("rotary scaling \"" + (scaling ? *scaling : "?") + "\" is not supported",
                "only unscaled rotary positions are");
  if (const auto scale = io::as_number(keys.find("rope.scale_linear")); scale && *scale != 1)
    keys.refuse(keys.full("rope.scale_linear") + " is not supported");
  if (has_tensor(header, "rope_freqs.weight"))
    keys.refuse("scaled rotary positions (tensor 'rope_freqs.weight') are not supported",
                "only unscaled rotary positions are");
  if (const auto parts = io::as_integer(header.find("split.count")); parts && *parts > 1)
    keys.refuse("is one of " + std::to_string(*parts) + " parts of a model, which is not supported",
                "join them with llama-gguf-split --merge");
}

// Sizes that every architecture has, over what the family says of itself.
ModelSpec sizes_from(const io::GgufHeader& header, const Keys& keys, const std::string& family) {
  ModelSpec spec = find_family(family)->base;
  spec.family = family;
  spec.vocab_size = vocabulary_size(header, keys);
  spec.hidden_size = keys.size("embedding_length");
  spec.layers = keys.size("block_count", kMaxLayers);
  spec.heads = keys.size("attention.head_count");
  spec.kv_heads = keys.size_or("attention.head_count_kv", spec.heads);
  spec.intermediate_size = keys.size("feed_forward_length");
  spec.max_positions = keys.size("context_length");
  spec.tied_head = !has_tensor(header, "output.weight");
  if (spec.heads % spec.kv_heads)
    keys.refuse("attention.head_count " + std::to_string(spec.heads) +
                " is not a multiple of attention.head_count_kv " + std::to_string(spec.kv_heads));
  if (!keys.find("attention.key_length") && spec.hidden_size % spec.heads)
    keys.refuse("embedding_length " + std::to_string(spec.hidden_size) +
                " is not a multiple of attention.head_count " + std::to_string(spec.heads));
  spec.head_dim = keys.size_or("attention.key_length", spec.hidden_size / spec.heads);
  if (spec.heads * spec.head_dim > kMaxSize)
    keys.refuse(std::to_string(spec.heads) + " heads of " + std::to_string(spec.head_dim) +
                " dims are more than " + std::to_string(kMaxSize));
  if (keys.size_or("attention.value_length", spec.head_dim) != spec.head_dim)
    keys.refuse("keys and values of different sizes are not supported");
  return spec;
}

void read_rotary(const Keys& keys, ModelSpec& spec) {
  if (spec.head_dim % 2)
    keys.refuse("heads of " + std::to_string(spec.head_dim) +
                " dims: rotary positions turn pairs, so they must be even");
  if (const int64_t dims = keys.size_or("rope.dimension_count", spec.head_dim);
      dims != spec.head_dim)
    keys.refuse(keys.full("rope.dimension_count") + " " + std::to_string(dims) +
                " is not supported: heads have " + std::to_string(spec.head_dim) + " dims");
  spec.rope_theta = keys.positive_or("rope.freq_base", 10000.0);
}

ModelSpec spec_from(const io::GgufHeader& header, const Keys& keys, const std::string& family) {
  ModelSpec spec = sizes_from(header, keys, family);
  const bool rms = spec.norm == Norm::kRmsNorm;
  spec.norm_epsilon = keys.positive_or(
      rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", 1e-5);
  if (spec.positions == Positions::kRotary) read_rotary(keys, spec);
  if (family == "llama") {
    spec.attention_bias = has_tensor(header, "blk.0.attn_q.bias");
    spec.mlp_bias = has_tensor(header, "blk.0.ffn_up.bias");
  }
  if (spec.fused_qkv &&
      (spec.kv_heads != spec.heads || spec.head_dim * spec.heads != spec.hidden_size))
    keys.refuse(family + " with grouped or widened heads is not supported");
  return spec;
}

// Every weight has its tensor and every tensor its weight.
void check_tensors(const io::GgufHeader& header, const ModelSpec& spec, const Keys& keys) {
  std::map<std::string_view, const io::GgufTensor*> left;
  for (const io::GgufTensor& tensor : header.tensors) left.emplace(tensor.name, &tensor);
  // One layer's weights say whether the file can hold them all, before a list of them is made.
  if (static_cast<uint64_t>(spec.layers) > header.tensors.size())
    keys.refuse("has " + std::to_string(header.tensors.size()) + " tensors, too few for " +
                std::to_string(spec.layers) + " layers");
  for (const GgufWeight& weight : gguf_weights(spec)) {
    const auto found = left.find(weight.stored_name);
    if (found == left.end())
      keys.refuse("has no tensor '" + weight.stored_name + "' (" + weight.name + ")");
    if (found->second->shape != weight.stored_shape())
      keys.refuse("tensor '" + weight.stored_name + "' is " + io::shape_text(found->second->shape) +
                  ", expected " + io::shape_text(weight.stored_shape()));
    left.erase(found);
  }
  if (!left.empty())
    keys.refuse("tensor '" + std::string(left.begin()->first) + "' has no place in a " +
                spec.family + " model");
}

}  // namespace

ModelSpec model_spec_from_gguf(const io::GgufHeader& header, const std::string& where) {
  const std::string known = "known: gpt2, llama, qwen2, qwen3";
  const auto* architecture = io::as_text(header.find("general.architecture"));
  const Keys keys(header, where, architecture ? *architecture : "general");
  if (!architecture) keys.refuse("general.architecture is missing", known);
  if (!has_gguf_form(*architecture))
    keys.refuse("architecture \"" + *architecture + "\" is not supported", known);
  refuse_unsupported(header, keys);
  const ModelSpec spec = spec_from(header, keys, *architecture);
  check_tensors(header, spec, keys);
  return spec;
}

bool has_gguf_form(const std::string& family) {
  return family == "gpt2" || family == "llama" || family == "qwen2" || family == "qwen3";
}

}  // namespace hydrofoil::spec
