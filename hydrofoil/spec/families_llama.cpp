// SPDX-License-Identifier: Apache-2.0
// Families that follow Llama in names and keys, as data: keys of config.json, defaults and
// parameter names are those of transformers 5.
#include "hydrofoil/spec/family.h"
#include "hydrofoil/spec/family_rules.h"

namespace hydrofoil::spec {
namespace {

using S = ModelSpec;
using Names = std::map<Part, const char*>;

Names with(Names names, const Names& others) {
  for (const auto& [part, name] : others) names[part] = name;
  return names;
}
std::vector<Key> with(std::vector<Key> keys, const std::vector<Key>& others) {
  keys.insert(keys.end(), others.begin(), others.end());
  return keys;
}
S with(S base, void (*change)(S&)) {
  change(base);
  return base;
}

// The names and keys that Llama set and most follow.
const Names kLlamaNames = {
    {Part::kTokens, "model.embed_tokens"},
    {Part::kAttentionNorm, "input_layernorm"},
    {Part::kQuery, "self_attn.q_proj"},
    {Part::kKey, "self_attn.k_proj"},
    {Part::kValue, "self_attn.v_proj"},
    {Part::kQueryNorm, "self_attn.q_norm"},
    {Part::kKeyNorm, "self_attn.k_norm"},
    {Part::kAttentionOutput, "self_attn.o_proj"},
    {Part::kMlpNorm, "post_attention_layernorm"},
    {Part::kGate, "mlp.gate_proj"},
    {Part::kUp, "mlp.up_proj"},
    {Part::kGateUp, "mlp.gate_up_proj"},
    {Part::kDown, "mlp.down_proj"},
    {Part::kFinalNorm, "model.norm"},
    {Part::kHead, "lm_head"},
};
const std::vector<Key> kLlamaKeys = {
    {"vocab_size", &S::vocab_size, true},
    {"hidden_size", &S::hidden_size, true},
    {"intermediate_size", &S::intermediate_size, true},
    {"num_hidden_layers", &S::layers, true},
    {"num_attention_heads", &S::heads, true},
    {"num_key_value_heads", &S::kv_heads},
    {"head_dim", &S::head_dim},
    {"max_position_embeddings", &S::max_positions},
    {"initializer_range", &S::initializer_range},
    {"tie_word_embeddings", &S::tied_head},
};
const std::vector<Key> kLlamaRmsKeys =
    with(kLlamaKeys, {{"rms_norm_eps", &S::norm_epsilon}, {"hidden_act", &S::activation}});
const S kLlamaBase = {.max_positions = 2048,
                      .norm = Norm::kRmsNorm,
                      .norm_epsilon = 1e-6,
                      .positions = Positions::kRotary,
                      .activation = Activation::kSilu,
                      .gated_mlp = true,
                      .tied_head = false};

Family llama() {
  return {.name = "llama",
          .architecture = "LlamaForCausalLM",
          .base = kLlamaBase,
          .keys = with(kLlamaRmsKeys,
                       {{"attention_bias", &S::attention_bias}, {"mlp_bias", &S::mlp_bias}}),
          .rotary = {.theta = "rope_theta"},
          .layer_prefix = "model.layers.",
          .names = kLlamaNames};
}

Family mistral() {
  return {.name = "mistral",
          .architecture = "MistralForCausalLM",
          .base = with(kLlamaBase, [](S& s) { s.kv_heads = 8, s.max_positions = 131072; }),
          .keys = kLlamaRmsKeys,
          .rotary = {.theta = "rope_theta"},
          .windows = Windows::kAll,
          .default_window = 4096,
          .layer_prefix = "model.layers.",
          .names = kLlamaNames};
}

Family qwen2() {
  return {.name = "qwen2",
          .architecture = "Qwen2ForCausalLM",
          .base = with(kLlamaBase,
                       [](S& s) { s.kv_heads = 32, s.max_positions = 32768, s.qkv_bias = true; }),
          .keys = kLlamaRmsKeys,
          .rotary = {.theta = "rope_theta"},
          .windows = Windows::kLast,
          .default_window = 4096,
          .layer_prefix = "model.layers.",
          .names = kLlamaNames};
}

Family qwen3() {
  return {.name = "qwen3",
          .architecture = "Qwen3ForCausalLM",
          .base = with(kLlamaBase,
                       [](S& s) {
                         s.kv_heads = 32, s.head_dim = 128, s.max_positions = 32768;
                         s.qk_norm = true;
                       }),
          .keys = with(kLlamaRmsKeys, {{"attention_bias", &S::attention_bias}}),
          .rotary = {.theta = "rope_theta"},
          .windows = Windows::kLast,
          .default_window = 4096,
          .layer_prefix = "model.layers.",
          .names = kLlamaNames};
}

Family gemma() {
  return {.name = "gemma",
          .architecture = "GemmaForCausalLM",
          .base = with(kLlamaBase,
                       [](S& s) {
                         s.kv_heads = 16, s.head_dim = 256, s.max_positions = 8192;
                         s.activation = Activation::kGeluTanh;
                         s.tied_head = s.norm_unit_offset = true;
                       }),
          .keys = with(kLlamaRmsKeys, {{"attention_bias", &S::attention_bias}}),
          .rotary = {.theta = "rope_theta"},
          .refused = {"use_bidirectional_attention"},
          .layer_prefix = "model.layers.",
          .names = kLlamaNames,
          .read_more = read_gemma};
}

Family gemma2() {
  return {.name = "gemma2",
          .architecture = "Gemma2ForCausalLM",
          .base = with(kLlamaBase,
                       [](S& s) {
                         s.kv_heads = 4, s.head_dim = 256, s.max_positions = 8192;
                         s.activation = Activation::kGeluTanh;
                         s.tied_head = s.norm_unit_offset = true;
                         s.norm_placement = NormPlacement::kAround;
                       }),
          .keys = with(kLlamaKeys, {{"rms_norm_eps", &S::norm_epsilon},
                                    {"hidden_activation", &S::activation},
                                    {"attention_bias", &S::attention_bias}}),
          .rotary = {.theta = "rope_theta"},
          .windows = Windows::kAlternate,
          .default_window = 4096,
          .refused = {"use_bidirectional_attention"},
          .layer_prefix = "model.layers.",
          .names = with(kLlamaNames, {{Part::kAttentionAddNorm, "post_attention_layernorm"},
                                      {Part::kMlpNorm, "pre_feedforward_layernorm"},
                                      {Part::kMlpAddNorm, "post_feedforward_layernorm"}}),
          .read_more = read_gemma2,
          .write_more = write_gemma2};
}

Family gemma3() {
  Family family = gemma2();
  family.name = "gemma3_text";
  family.architecture = "Gemma3ForCausalLM";
  family.base.max_positions = 131072;
  family.base.qk_norm = true;
  family.base.rope_theta = 1e6;
  family.base.window_rope_theta = 1e4;
  family.rotary.window_theta = "rope_local_base_freq";
  family.windows = Windows::kPattern;
  family.read_more = read_gemma3;
  return family;
}

Family phi() {
  return {
      .name = "phi",
      .architecture = "PhiForCausalLM",
      .base = {.max_positions = 2048,
               .positions = Positions::kRotary,
               .attention_bias = true,
               .mlp_bias = true,
               .tied_head = false,
               .residual = Residual::kParallelOneNorm,
               .head_bias = true},
      .keys =
          with(kLlamaKeys, {{"layer_norm_eps", &S::norm_epsilon}, {"hidden_act", &S::activation}}),
      .rotary = {.theta = "rope_theta", .partial = "partial_rotary_factor", .default_partial = 0.5},
      .refused = {"qk_layernorm"},
      .layer_prefix = "model.layers.",
      .names = with(kLlamaNames, {{Part::kAttentionOutput, "self_attn.dense"},
                                  {Part::kUp, "mlp.fc1"},
                                  {Part::kDown, "mlp.fc2"},
                                  {Part::kFinalNorm, "model.final_layernorm"}})};
}

Family phi3() {
  return {.name = "phi3",
          .architecture = "Phi3ForCausalLM",
          .base = with(kLlamaBase,
                       [](S& s) {
                         s.max_positions = 4096, s.norm_epsilon = 1e-5;
                         s.fused_qkv = s.fused_gate_up = true;
                       }),
          .keys = kLlamaRmsKeys,
          .rotary = {.theta = "rope_theta", .partial = "partial_rotary_factor", .scales = false},
          .windows = Windows::kAll,
          .layer_prefix = "model.layers.",
          .names = with(kLlamaNames, {{Part::kQkv, "self_attn.qkv_proj"}}),
          .nulls = {"pad_token_id"}};
}

Family stablelm() {
  return {.name = "stablelm",
          .architecture = "StableLmForCausalLM",
          .base = with(kLlamaBase,
                       [](S& s) {
                         s.kv_heads = 32, s.max_positions = 4096;
                         s.norm = Norm::kLayerNorm, s.norm_epsilon = 1e-5;
                       }),
          .keys = with(kLlamaKeys, {{"layer_norm_eps", &S::norm_epsilon},
                                    {"hidden_act", &S::activation},
                                    {"use_qkv_bias", &S::qkv_bias}}),
          .rotary = {.theta = "rope_theta",
                     .partial = "partial_rotary_factor",
                     .default_partial = 0.25},
          .refused = {"qk_layernorm"},
          .layer_prefix = "model.layers.",
          .names = kLlamaNames,
          .read_more = read_stablelm,
          .write_more = write_parallel_residual};
}

Family starcoder2() {
  return {.name = "starcoder2",
          .architecture = "Starcoder2ForCausalLM",
          .base = {.kv_heads = 2,
                   .max_positions = 4096,
                   .positions = Positions::kRotary,
                   .attention_bias = true,
                   .mlp_bias = true,
                   .initializer_range = 0.018042},
          .keys = with(kLlamaKeys, {{"norm_epsilon", &S::norm_epsilon},
                                    {"hidden_act", &S::activation},
                                    {"use_bias", &S::attention_bias},
                                    {"use_bias", &S::mlp_bias}}),
          .rotary = {.theta = "rope_theta"},
          .windows = Windows::kAll,
          .layer_prefix = "model.layers.",
          .names = with(kLlamaNames, {{Part::kUp, "mlp.c_fc"}, {Part::kDown, "mlp.c_proj"}})};
}

Family glm() {
  return {
      .name = "glm",
      .architecture = "GlmForCausalLM",
      .base = with(kLlamaBase,
                   [](S& s) {
                     s.kv_heads = 2, s.head_dim = 128, s.max_positions = 131072;
                     s.norm_epsilon = 1.5625e-7;
                     s.rotary_interleaved = s.qkv_bias = s.fused_gate_up = true;
                   }),
      .keys = with(kLlamaRmsKeys, {{"attention_bias", &S::qkv_bias}}),
      .rotary = {.theta = "rope_theta", .partial = "partial_rotary_factor", .default_partial = 0.5},
      .layer_prefix = "model.layers.",
      .names = kLlamaNames,
      .nulls = {"pad_token_id"}};
}

Family glm4() {
  Family family = glm();
  family.name = "glm4";
  family.architecture = "Glm4ForCausalLM";
  family.base.norm_placement = NormPlacement::kAround;
  family.names = with(kLlamaNames, {{Part::kAttentionAddNorm, "post_self_attn_layernorm"},
                                    {Part::kMlpAddNorm, "post_mlp_layernorm"}});
  return family;
}

}  // namespace

std::vector<Family> llama_like_families() {
  return {llama(), mistral(), qwen2(),    qwen3(),      gemma(), gemma2(), gemma3(),
          phi(),   phi3(),    stablelm(), starcoder2(), glm(),   glm4()};
}

}  // namespace hydrofoil::spec
