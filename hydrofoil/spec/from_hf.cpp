// SPDX-License-Identifier: Apache-2.0
// Reads a Hugging Face config.json. Keys, their defaults and their aliases are those of
// transformers' GPT2Config and LlamaConfig (4.x and 5.x forms of the rotary settings).
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::spec {
namespace {

using Json = nlohmann::json;

// Bounds keep every element count within int64: 2^24 * 2^24 * a few matrices * 2^12 layers.
constexpr int64_t kMaxSize = int64_t{1} << 24;
constexpr int64_t kMaxLayers = int64_t{1} << 12;

[[noreturn]] void refuse(const std::string& where, const std::string& message,
                         const std::string& hint = {}) {
  throw Error(ExitCode::kConfig, message, where, hint);
}

// Typed access to one object of the file. A null value counts as absent, as it does to HF.
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const Json* find(const std::string& key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  // The first of several names for one size; all that are present must agree.
  std::optional<int64_t> size(std::initializer_list<const char*> names,
                              int64_t max = kMaxSize) const {
    std::optional<int64_t> found;
    for (const char* name : names) {
      const Json* value = find(name);
      if (!value) continue;
      if (!value->is_number_integer() || *value < 1 || *value > max)
        refuse(where_, std::string(name) + " must be a whole number from 1 to " +
                           std::to_string(max) + ", not " + value->dump());
      if (found && *found != value->get<int64_t>())
        refuse(where_, std::string(name) + " is " + value->dump() + ", but " + *names.begin() +
                           ", another name for it, is " + std::to_string(*found));
      found = value->get<int64_t>();
    }
    return found;
  }
  int64_t required(std::initializer_list<const char*> names, int64_t max = kMaxSize) const {
    if (const auto value = size(names, max)) return *value;
    refuse(where_, std::string(*names.begin()) + " is missing",
           "it shapes the weights, so there is no default");
  }
  double number(const char* name, double fallback) const {
    const Json* value = find(name);
    if (!value) return fallback;
    if (!value->is_number() || !std::isfinite(value->get<double>()) || *value < 0)
      refuse(where_, std::string(name) + " must be a number, 0 or above, not " + value->dump());
    return value->get<double>();
  }
  double positive(const char* name, double fallback) const {
    const double value = number(name, fallback);
    if (value <= 0) refuse(where_, std::string(name) + " must be above 0");
    return value;
  }
  bool flag(const char* name, bool fallback) const {
    const Json* value = find(name);
    if (!value) return fallback;
    if (!value->is_boolean())
      refuse(where_, std::string(name) + " must be true or false, not " + value->dump());
    return value->get<bool>();
  }
  std::string text(const char* name, const char* fallback) const {
    const Json* value = find(name);
    if (!value) return fallback;
    if (!value->is_string())
      refuse(where_, std::string(name) + " must be a string, not " + value->dump());
    return value->get<std::string>();
  }

 private:
  const Json& object_;
  std::string where_;
};

Json parse(const std::string& text, const std::string& where) {
  try {
    Json json = Json::parse(text);
    if (!json.is_object()) refuse(where, "a model's config is a JSON object");
    return json;
  } catch (const Json::parse_error& error) {
    refuse(where, std::string("not valid JSON: ") + error.what());
  }
}

Activation activation_from(const Fields& fields, const char* key, const char* fallback) {
  const std::string name = fields.text(key, fallback);
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast")
    return Activation::kGeluTanh;
  if (name == "gelu") return Activation::kGelu;
  if (name == "silu" || name == "swish") return Activation::kSilu;
  refuse(fields.where(), std::string(key) + " \"" + name + "\" is not known",
         "known: gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, swish");
}

// Settings that would change the model's results and that no executor implements.
void refuse_unsupported(const Fields& fields) {
  const auto refuse_key = [&](const char* key) {
    refuse(fields.where(), std::string(key) + " " + fields.find(key)->dump() + " is not supported");
  };
  for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention",
                          "is_encoder_decoder", "rope_interleaved"})
    if (fields.flag(key, false)) refuse_key(key);
  if (!fields.flag("scale_attn_weights", true)) refuse_key("scale_attn_weights");
  if (const Json* pruned = fields.find("pruned_heads"); pruned && !pruned->empty())
    refuse_key("pruned_heads");
  for (const char* key : {"sliding_window", "quantization_config"})
    if (fields.find(key)) refuse_key(key);
  if (fields.number("partial_rotary_factor", 1) != 1) refuse_key("partial_rotary_factor");
}

// The base of the rotary angles: rope_theta, or rope_parameters.rope_theta since transformers 5.
double rope_theta_from(const Fields& fields) {
  std::optional<double> theta;
  if (fields.find("rope_theta")) theta = fields.positive("rope_theta", 0);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* value = fields.find(key);
    if (!value) continue;
    if (!value->is_object()) refuse(fields.where(), std::string(key) + " must be an object");
    const Fields rope(*value, fields.where() + ": " + key);
    const std::string kind = rope.text("rope_type", rope.text("type", "default").c_str());
    if (kind != "default")
      refuse(rope.where(), "rotary scaling \"" + kind + "\" is not supported",
             "only unscaled rotary positions (rope_type \"default\") are");
    if (rope.number("partial_rotary_factor", 1) != 1)
      refuse(rope.where(), "partial_rotary_factor is not supported");
    if (!rope.find("rope_theta")) continue;
    const double inner = rope.positive("rope_theta", 0);
    if (theta && *theta != inner)
      refuse(rope.where(), "rope_theta stands here and outside with different values");
    theta = inner;
  }
  return theta.value_or(10000.0);
}

ModelSpec gpt2_from(const Fields& fields) {
  ModelSpec spec;
  spec.family = "gpt2";
  spec.vocab_size = fields.required({"vocab_size"});
  spec.hidden_size = fields.required({"n_embd", "hidden_size"});
  spec.layers = fields.required({"n_layer", "num_hidden_layers"}, kMaxLayers);
  spec.heads = spec.kv_heads = fields.required({"n_head", "num_attention_heads"});
  if (spec.hidden_size % spec.heads)
    refuse(fields.where(), "n_embd " + std::to_string(spec.hidden_size) +
                               " is not a multiple of n_head " + std::to_string(spec.heads));
  spec.head_dim = spec.hidden_size / spec.heads;
  spec.intermediate_size = fields.size({"n_inner"}).value_or(4 * spec.hidden_size);
  spec.max_positions = fields.required({"n_positions", "max_position_embeddings"});
  spec.norm = Norm::kLayerNorm;
  spec.norm_epsilon = fields.positive("layer_norm_epsilon", 1e-5);
  spec.positions = Positions::kLearned;
  spec.activation = activation_from(fields, "activation_function", "gelu_new");
  spec.fused_qkv = spec.transposed_linear = true;
  spec.attention_bias = spec.mlp_bias = true;
  spec.tied_head = fields.flag("tie_word_embeddings", true);
  spec.initializer_range = fields.number("initializer_range", 0.02);
  return spec;
}

ModelSpec llama_from(const Fields& fields) {
  ModelSpec spec;
  spec.family = "llama";
  spec.vocab_size = fields.required({"vocab_size"});
  spec.hidden_size = fields.required({"hidden_size"});
  spec.layers = fields.required({"num_hidden_layers"}, kMaxLayers);
  spec.heads = fields.required({"num_attention_heads"});
  spec.kv_heads = fields.size({"num_key_value_heads"}).value_or(spec.heads);
  if (spec.heads % spec.kv_heads)
    refuse(fields.where(), "num_attention_heads " + std::to_string(spec.heads) +
                               " is not a multiple of num_key_value_heads " +
                               std::to_string(spec.kv_heads));
  const auto head_dim = fields.size({"head_dim"});
  if (!head_dim && spec.hidden_size % spec.heads)
    refuse(fields.where(), "hidden_size " + std::to_string(spec.hidden_size) +
                               " is not a multiple of num_attention_heads " +
                               std::to_string(spec.heads) + ", and head_dim is not given");
  spec.head_dim = head_dim.value_or(spec.hidden_size / spec.heads);
  if (spec.head_dim % 2)
    refuse(fields.where(), "head_dim is " + std::to_string(spec.head_dim) +
                               ", but rotary positions turn pairs: it must be even");
  spec.intermediate_size = fields.required({"intermediate_size"});
  spec.max_positions = fields.size({"max_position_embeddings"}).value_or(2048);
  spec.norm = Norm::kRmsNorm;
  spec.norm_epsilon = fields.positive("rms_norm_eps", 1e-6);
  spec.positions = Positions::kRotary;
  spec.rope_theta = rope_theta_from(fields);
  spec.activation = activation_from(fields, "hidden_act", "silu");
  spec.gated_mlp = true;
  spec.attention_bias = fields.flag("attention_bias", false);
  spec.mlp_bias = fields.flag("mlp_bias", false);
  spec.tied_head = fields.flag("tie_word_embeddings", false);
  spec.initializer_range = fields.number("initializer_range", 0.02);
  return spec;
}

}  // namespace

ModelSpec model_spec_from_hf(const std::string& json_text, const std::string& where) {
  const Json json = parse(json_text, where);
  const Fields fields(json, where);
  const std::string family = fields.text("model_type", "");
  if (family.empty()) refuse(where, "model_type is missing", "known: gpt2, llama");
  if (family != "gpt2" && family != "llama")
    refuse(where, "model_type \"" + family + "\" is not known", "known: gpt2, llama");
  refuse_unsupported(fields);
  return family == "gpt2" ? gpt2_from(fields) : llama_from(fields);
}

std::vector<std::string> settings_not_applied(const std::string& json_text,
                                              const std::string& where) {
  const Json json = parse(json_text, where);
  const Fields fields(json, where);
  std::vector<std::string> lines;
  for (const char* key : {"resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout"})
    if (fields.number(key, 0) > 0)
      lines.push_back(std::string(key) + " " + fields.find(key)->dump() +
                      " is not applied: training runs without dropout");
  return lines;
}

}  // namespace hydrofoil::spec
