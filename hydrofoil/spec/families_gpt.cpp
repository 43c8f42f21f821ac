// SPDX-License-Identifier: Apache-2.0
// Families with names and keys of their own, as data: keys of config.json, defaults and parameter
// names are those of transformers 5.
#include "hydrofoil/spec/family.h"
#include "hydrofoil/spec/family_rules.h"

namespace hydrofoil::spec {
namespace {

using S = ModelSpec;
using Names = std::map<Part, const char*>;

// Of BLOOM and Falcon.
const Names kBloomNames = {
    {Part::kTokens, "transformer.word_embeddings"},
    {Part::kEmbeddingNorm, "transformer.word_embeddings_layernorm"},
    {Part::kAttentionNorm, "input_layernorm"},
    {Part::kQkv, "self_attention.query_key_value"},
    {Part::kAttentionOutput, "self_attention.dense"},
    {Part::kMlpNorm, "post_attention_layernorm"},
    {Part::kUp, "mlp.dense_h_to_4h"},
    {Part::kDown, "mlp.dense_4h_to_h"},
    {Part::kFinalNorm, "transformer.ln_f"},
    {Part::kHead, "lm_head"},
};

Family gpt2() {
  return {.name = "gpt2",
          .architecture = "GPT2LMHeadModel",
          .base = {.fused_qkv = true,
                   .transposed_linear = true,
                   .attention_bias = true,
                   .mlp_bias = true},
          .keys = {{"vocab_size", &S::vocab_size, true},
                   {"n_embd", &S::hidden_size, true, "hidden_size"},
                   {"n_layer", &S::layers, true, "num_hidden_layers"},
                   {"n_head", &S::heads, true, "num_attention_heads"},
                   {"n_inner", &S::intermediate_size},
                   {"n_positions", &S::max_positions, true, "max_position_embeddings"},
                   {"layer_norm_epsilon", &S::norm_epsilon},
                   {"activation_function", &S::activation},
                   {"initializer_range", &S::initializer_range},
                   {"tie_word_embeddings", &S::tied_head}},
          .scaled_residual_init = true,
          .layer_prefix = "transformer.h.",
          .names = {{Part::kTokens, "transformer.wte"},
                    {Part::kPositions, "transformer.wpe"},
                    {Part::kAttentionNorm, "ln_1"},
                    {Part::kQkv, "attn.c_attn"},
                    {Part::kAttentionOutput, "attn.c_proj"},
                    {Part::kMlpNorm, "ln_2"},
                    {Part::kUp, "mlp.c_fc"},
                    {Part::kDown, "mlp.c_proj"},
                    {Part::kFinalNorm, "transformer.ln_f"},
                    {Part::kHead, "lm_head"}},
          .zeros = {"resid_pdrop", "embd_pdrop", "attn_pdrop"}};
}

Family gptj() {
  return {.name = "gptj",
          .architecture = "GPTJForCausalLM",
          .base = {.max_positions = 2048,
                   .positions = Positions::kRotary,
                   .mlp_bias = true,
                   .tied_head = false,
                   .residual = Residual::kParallelOneNorm,
                   .rotary_interleaved = true,
                   .head_bias = true},
          .keys = {{"vocab_size", &S::vocab_size, true},
                   {"n_embd", &S::hidden_size, true, "hidden_size"},
                   {"n_layer", &S::layers, true, "num_hidden_layers"},
                   {"n_head", &S::heads, true, "num_attention_heads"},
                   {"n_inner", &S::intermediate_size},
                   {"n_positions", &S::max_positions, false, "max_position_embeddings"},
                   {"layer_norm_epsilon", &S::norm_epsilon},
                   {"activation_function", &S::activation},
                   {"initializer_range", &S::initializer_range},
                   {"tie_word_embeddings", &S::tied_head}},
          .layer_prefix = "transformer.h.",
          .names = {{Part::kTokens, "transformer.wte"},
                    {Part::kAttentionNorm, "ln_1"},
                    {Part::kQuery, "attn.q_proj"},
                    {Part::kKey, "attn.k_proj"},
                    {Part::kValue, "attn.v_proj"},
                    {Part::kAttentionOutput, "attn.out_proj"},
                    {Part::kUp, "mlp.fc_in"},
                    {Part::kDown, "mlp.fc_out"},
                    {Part::kFinalNorm, "transformer.ln_f"},
                    {Part::kHead, "lm_head"}},
          .read_more = read_gptj,
          .write_more = write_gptj};
}

Family gpt_neox() {
  return {.name = "gpt_neox",
          .architecture = "GPTNeoXForCausalLM",
          .base = {.max_positions = 2048,
                   .positions = Positions::kRotary,
                   .activation = Activation::kGelu,
                   .fused_qkv = true,
                   .attention_bias = true,
                   .mlp_bias = true,
                   .tied_head = false,
                   .qkv_by_group = true},
          .keys = {{"vocab_size", &S::vocab_size, true},
                   {"hidden_size", &S::hidden_size, true},
                   {"intermediate_size", &S::intermediate_size, true},
                   {"num_hidden_layers", &S::layers, true},
                   {"num_attention_heads", &S::heads, true},
                   {"max_position_embeddings", &S::max_positions},
                   {"layer_norm_eps", &S::norm_epsilon},
                   {"hidden_act", &S::activation},
                   {"attention_bias", &S::attention_bias},
                   {"initializer_range", &S::initializer_range},
                   {"tie_word_embeddings", &S::tied_head}},
          .rotary = {.theta = "rotary_emb_base", .partial = "rotary_pct", .default_partial = 0.25},
          .layer_prefix = "gpt_neox.layers.",
          .names = {{Part::kTokens, "gpt_neox.embed_in"},
                    {Part::kAttentionNorm, "input_layernorm"},
                    {Part::kQkv, "attention.query_key_value"},
                    {Part::kAttentionOutput, "attention.dense"},
                    {Part::kMlpNorm, "post_attention_layernorm"},
                    {Part::kUp, "mlp.dense_h_to_4h"},
                    {Part::kDown, "mlp.dense_4h_to_h"},
                    {Part::kFinalNorm, "gpt_neox.final_layer_norm"},
                    {Part::kHead, "embed_out"}},
          .read_more = read_gpt_neox,
          .write_more = write_parallel_residual};
}

Family opt() {
  return {.name = "opt",
          .architecture = "OPTForCausalLM",
          .base = {.max_positions = 2048,
                   .activation = Activation::kRelu,
                   .attention_bias = true,
                   .mlp_bias = true,
                   .position_offset = 2},
          .keys = {{"vocab_size", &S::vocab_size, true},
                   {"hidden_size", &S::hidden_size, true},
                   {"ffn_dim", &S::intermediate_size, true},
                   {"num_hidden_layers", &S::layers, true},
                   {"num_attention_heads", &S::heads, true},
                   {"max_position_embeddings", &S::max_positions},
                   {"activation_function", &S::activation},
                   {"enable_bias", &S::attention_bias},
                   {"enable_bias", &S::mlp_bias},
                   {"init_std", &S::initializer_range},
                   {"tie_word_embeddings", &S::tied_head}},
          .layer_prefix = "model.decoder.layers.",
          .names = {{Part::kTokens, "model.decoder.embed_tokens"},
                    {Part::kPositions, "model.decoder.embed_positions"},
                    {Part::kProjectIn, "model.decoder.project_in"},
                    {Part::kAttentionNorm, "self_attn_layer_norm"},
                    {Part::kQuery, "self_attn.q_proj"},
                    {Part::kKey, "self_attn.k_proj"},
                    {Part::kValue, "self_attn.v_proj"},
                    {Part::kAttentionOutput, "self_attn.out_proj"},
                    {Part::kMlpNorm, "final_layer_norm"},
                    {Part::kUp, "fc1"},
                    {Part::kDown, "fc2"},
                    {Part::kFinalNorm, "model.decoder.final_layer_norm"},
                    {Part::kProjectOut, "model.decoder.project_out"},
                    {Part::kHead, "lm_head"}},
          .zeros = {"dropout"},
          .read_more = read_opt,
          .write_more = write_opt};
}

Family bloom() {
  return {.name = "bloom",
          .architecture = "BloomForCausalLM",
          .base = {.max_positions = 2048,
                   .positions = Positions::kAlibi,
                   .fused_qkv = true,
                   .attention_bias = true,
                   .mlp_bias = true,
                   .embedding_norm = true,
                   .qkv_by_group = true},
          .keys = {{"vocab_size", &S::vocab_size, true},
                   {"hidden_size", &S::hidden_size, true, "n_embed"},
                   {"n_layer", &S::layers, true, "num_hidden_layers"},
                   {"n_head", &S::heads, true, "num_attention_heads"},
                   {"seq_length", &S::max_positions},
                   {"layer_norm_epsilon", &S::norm_epsilon},
                   {"initializer_range", &S::initializer_range},
                   {"tie_word_embeddings", &S::tied_head}},
          .refused = {"apply_residual_connection_post_layernorm"},
          .layer_prefix = "transformer.h.",
          .names = kBloomNames};
}

Family falcon() {
  return {.name = "falcon",
          .architecture = "FalconForCausalLM",
          .base = {.max_positions = 2048,
                   .positions = Positions::kRotary,
                   .activation = Activation::kGelu,
                   .fused_qkv = true,
                   .qkv_by_group = true},
          .keys = {{"vocab_size", &S::vocab_size, true},
                   {"hidden_size", &S::hidden_size, true, "n_embed"},
                   {"num_hidden_layers", &S::layers, true, "n_layer"},
                   {"num_attention_heads", &S::heads, true, "n_head"},
                   {"ffn_hidden_size", &S::intermediate_size},
                   {"max_position_embeddings", &S::max_positions},
                   {"activation", &S::activation},
                   {"bias", &S::attention_bias},
                   {"bias", &S::mlp_bias},
                   {"layer_norm_epsilon", &S::norm_epsilon},
                   {"initializer_range", &S::initializer_range},
                   {"tie_word_embeddings", &S::tied_head}},
          .rotary = {.theta = "rope_theta"},
          .layer_prefix = "transformer.h.",
          .names = kBloomNames,
          .special_names = {{[](const S& s) { return s.residual == Residual::kParallel; },
                             {{Part::kAttentionNorm, "ln_attn"}, {Part::kMlpNorm, "ln_mlp"}}}},
          .read_more = read_falcon,
          .write_more = write_falcon};
}

}  // namespace

std::vector<Family> gpt_like_families() {
  return {gpt2(), gptj(), gpt_neox(), opt(), bloom(), falcon()};
}

}  // namespace hydrofoil::spec
