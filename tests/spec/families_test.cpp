// SPDX-License-Identifier: Apache-2.0
// What is told apart by data alone: settings of single families, in the forms their files have.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::spec::families_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Json config(const std::string& family, const std::string& more = "{}") {
  Json json = Json::parse(R"({"vocab_size":97,"hidden_size":48,"intermediate_size":100,
      "num_hidden_layers":4,"num_attention_heads":6,"num_key_value_heads":2,"head_dim":8,
      "ffn_dim":100,"n_embd":48,"n_layer":4,"n_head":6,"rotary_dim":4})");
  json["model_type"] = family;
  if (family == "bloom" || family == "falcon") json.erase("n_embd");
  json.update(Json::parse(more));
  return json;
}
ModelSpec read(const std::string& family, const std::string& more = "{}") {
  return model_spec_from_hf(config(family, more).dump(), "config.json");
}
std::string refusal(const std::string& family, const std::string& more) {
  try {
    read(family, more);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig);
    return error.line();
  }
  return "";
}

// Published sizes of released checkpoints.
TEST(Families, CountTheParametersOfKnownModels) {
  const auto count = [](const char* text) {
    return parameter_count(model_spec_from_hf(text, "config.json"));
  };
  EXPECT_EQ(count(R"({"model_type":"mistral","vocab_size":32000,"hidden_size":4096,
      "intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,
      "num_key_value_heads":8})"),
            7'241'732'096);
  EXPECT_EQ(count(R"({"model_type":"qwen2","vocab_size":151936,"hidden_size":896,
      "intermediate_size":4864,"num_hidden_layers":24,"num_attention_heads":14,
      "num_key_value_heads":2,"tie_word_embeddings":true})"),
            494'032'768);
  EXPECT_EQ(count(R"({"model_type":"qwen3","vocab_size":151936,"hidden_size":1024,
      "intermediate_size":3072,"num_hidden_layers":28,"num_attention_heads":16,
      "num_key_value_heads":8,"head_dim":128,"tie_word_embeddings":true})"),
            596'049'920);
  EXPECT_EQ(count(R"({"model_type":"gpt_neox","vocab_size":50304,"hidden_size":512,
      "intermediate_size":2048,"num_hidden_layers":6,"num_attention_heads":8})"),
            70'426'624);
  EXPECT_EQ(count(R"({"model_type":"opt","vocab_size":50272,"hidden_size":768,"ffn_dim":3072,
      "num_hidden_layers":12,"num_attention_heads":12})"),
            125'239'296);
  EXPECT_EQ(count(R"({"model_type":"opt","vocab_size":50272,"hidden_size":1024,"ffn_dim":4096,
      "num_hidden_layers":24,"num_attention_heads":16,"word_embed_proj_dim":512,
      "do_layer_norm_before":false})"),
            331'196'416);
  EXPECT_EQ(count(R"({"model_type":"bloom","vocab_size":250880,"hidden_size":1024,"n_layer":24,
      "n_head":16})"),
            559'214'592);
  EXPECT_EQ(count(R"({"model_type":"gptj","vocab_size":50400,"n_embd":4096,"n_layer":28,
      "n_head":16})"),
            6'050'882'784);
  EXPECT_EQ(count(R"({"model_type":"phi","vocab_size":51200,"hidden_size":2560,
      "intermediate_size":10240,"num_hidden_layers":32,"num_attention_heads":32,
      "partial_rotary_factor":0.4})"),
            2'779'683'840);
  EXPECT_EQ(count(R"({"model_type":"phi3","vocab_size":32064,"hidden_size":3072,
      "intermediate_size":8192,"num_hidden_layers":32,"num_attention_heads":32,
      "sliding_window":2047})"),
            3'821'079'552);
  EXPECT_EQ(count(R"({"model_type":"falcon","vocab_size":65024,"hidden_size":4544,
      "num_hidden_layers":32,"num_attention_heads":71})"),
            6'921'720'704);
  EXPECT_EQ(count(R"({"model_type":"gemma","vocab_size":256000,"hidden_size":2048,
      "intermediate_size":16384,"num_hidden_layers":18,"num_attention_heads":8,
      "num_key_value_heads":1,"head_dim":256})"),
            2'506'172'416);
  EXPECT_EQ(count(R"({"model_type":"gemma2","vocab_size":256000,"hidden_size":2304,
      "intermediate_size":9216,"num_hidden_layers":26,"num_attention_heads":8,
      "num_key_value_heads":4,"head_dim":256})"),
            2'614'341'888);
  EXPECT_EQ(count(R"({"model_type":"bert","vocab_size":30522,"hidden_size":768,
      "intermediate_size":3072,"num_hidden_layers":12,"num_attention_heads":12})"),
            109'514'298);
  EXPECT_EQ(count(R"({"model_type":"roberta","vocab_size":50265,"hidden_size":768,
      "intermediate_size":3072,"num_hidden_layers":12,"num_attention_heads":12,
      "max_position_embeddings":514,"type_vocab_size":1})"),
            124'697'433);
}

TEST(Families, AbsentKeysMeanWhatTheyMeanToTransformers) {
  EXPECT_EQ(read("mistral").sliding_window, 4096);
  EXPECT_EQ(read("mistral", R"({"sliding_window":null})").sliding_window, 0);
  EXPECT_EQ(read("qwen2", R"({"sliding_window":1024})").sliding_window, 0);  // not used
  EXPECT_EQ(read("phi", R"({"hidden_size":96,"head_dim":16})").rotary_dim, 8);
  EXPECT_EQ(read("gpt_neox", R"({"hidden_size":96})").rotary_dim, 4);
  EXPECT_EQ(read("phi3").rotary_dim, 0);
  EXPECT_EQ(read("glm").rotary_dim, 4);
  EXPECT_EQ(read("gemma2").attention_softcap, 50);
  EXPECT_EQ(read("gemma2", R"({"attn_logit_softcapping":null})").attention_softcap, 0);
  EXPECT_DOUBLE_EQ(read("gemma2").attention_scale, 1.0 / 16);
  EXPECT_DOUBLE_EQ(read("gemma").embedding_scale, std::sqrt(48.0));
  EXPECT_EQ(read("bloom").intermediate_size, 4 * 48);
  EXPECT_EQ(read("falcon").kv_heads, 1);
}

TEST(Families, WindowsStandInTheLayersThatHaveThem) {
  const char* use = R"({"use_sliding_window":true,"sliding_window":7,"max_window_layers":3})";
  EXPECT_THAT(read("qwen2", use).window_layers, ElementsAre(false, false, false, true));
  EXPECT_EQ(read("qwen2", use).window_of(2), 0);
  EXPECT_EQ(read("qwen2", use).window_of(3), 7);
  EXPECT_THAT(read("gemma2").window_layers, ElementsAre(true, false, true, false));
  EXPECT_THAT(read("gemma3_text", R"({"num_hidden_layers":7})").window_layers,
              ElementsAre(true, true, true, true, true, false, true));
  EXPECT_THAT(read("qwen3", R"({"use_sliding_window":true,"layer_types":["full_attention",
      "sliding_attention","full_attention","full_attention"]})")
                  .window_layers,
              ElementsAre(false, true, false, false));
  EXPECT_THAT(refusal("qwen3", R"({"use_sliding_window":true,"layer_types":["full_attention"]})"),
              HasSubstr("each of the 4 layers"));
  EXPECT_THAT(refusal("qwen3", R"({"use_sliding_window":true,"layer_types":["linear_attention"]})"),
              HasSubstr("linear_attention"));
}

TEST(Families, ReadsTheOlderFormsOfRotarySettings) {
  const auto neox =
      read("gpt_neox", R"({"hidden_size":96,"rotary_pct":0.5,"rotary_emb_base":500})");
  EXPECT_EQ(neox.rotary_dim, 8);
  EXPECT_EQ(neox.rope_theta, 500);
  EXPECT_EQ(neox, read("gpt_neox", R"({"hidden_size":96,"rope_parameters":{"rope_type":"default",
      "rope_theta":500,"partial_rotary_factor":0.5}})"));
  const auto llama3 = read("llama", R"({"rope_theta":500000,"rope_scaling":{"rope_type":"llama3",
      "factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64}})");
  EXPECT_EQ(llama3.rope_scaling.kind, RopeKind::kLlama3);
  EXPECT_EQ(llama3.rope_scaling.original_positions, 64);
  EXPECT_EQ(llama3.position_limit(), 2048);
  const auto yarn = read("qwen2", R"({"max_position_embeddings":64,"rope_scaling":{"type":"yarn",
      "factor":4,"original_max_position_embeddings":64}})");
  EXPECT_NEAR(yarn.rope_scaling.attention_factor, 0.1 * std::log(4.0) + 1, 1e-15);
  EXPECT_EQ(yarn.position_limit(), 256);
}

// Every number of even dimensions comes back from the share that is written for it.
TEST(Families, SharesOfAHeadRoundTrip) {
  for (int64_t head_dim = 2; head_dim <= 256; head_dim += 2)
    for (int64_t dim = 2; dim <= head_dim; dim += 2) {
      auto spec = read("phi", R"({"head_dim":256})");
      spec.head_dim = head_dim;
      spec.rotary_dim = dim == head_dim ? 0 : dim;
      EXPECT_EQ(model_spec_from_hf(hf_config(spec), "again"), spec) << dim << " of " << head_dim;
    }
}

TEST(Families, ReadsWhatAnEncodersHeadIsFor) {
  EXPECT_EQ(read("bert").head, HeadKind::kMaskedToken);
  const auto classes = read("bert", R"({"architectures":["BertForSequenceClassification"],
      "id2label":{"0":"a","1":"b","2":"c"}})");
  EXPECT_EQ(classes.head, HeadKind::kClasses);
  EXPECT_EQ(classes.classes, 3);
  const auto roberta = read("roberta", R"({"max_position_embeddings":20,"pad_token_id":3})");
  EXPECT_EQ(roberta.position_offset, 4);
  EXPECT_EQ(roberta.max_positions, 16);
  EXPECT_THAT(refusal("bert", R"({"architectures":["BertForQuestionAnswering"]})"),
              HasSubstr("BertForQuestionAnswering"));
  EXPECT_THAT(refusal("bert", R"({"architectures":["BertForSequenceClassification"],
      "id2label":{"0":"a"}})"),
              HasSubstr("regression"));
  EXPECT_THAT(refusal("bert", R"({"is_decoder":true})"), HasSubstr("is_decoder"));
  EXPECT_THAT(refusal("roberta", R"({"hidden_act":"relu"})"), HasSubstr("hidden_act"));
}

TEST(Families, RefuseWhatTheyCannotDoByName) {
  EXPECT_THAT(refusal("phi", R"({"qk_layernorm":true})"), HasSubstr("qk_layernorm true"));
  EXPECT_THAT(refusal("bloom", R"({"apply_residual_connection_post_layernorm":true})"),
              HasSubstr("apply_residual_connection_post_layernorm"));
  EXPECT_THAT(refusal("opt", R"({"layer_norm_elementwise_affine":false})"),
              HasSubstr("layer_norm_elementwise_affine"));
  EXPECT_THAT(refusal("gemma", R"({"use_bidirectional_attention":true})"),
              HasSubstr("use_bidirectional_attention"));
  EXPECT_THAT(refusal("falcon", R"({"new_decoder_architecture":true,"parallel_attn":false})"),
              HasSubstr("parallel_attn"));
  EXPECT_THAT(refusal("gptj", R"({"rotary_dim":null})"), HasSubstr("rotary_dim null"));
  EXPECT_THAT(refusal("gptj", R"({"rotary_dim":10})"), HasSubstr("the size of a head, 8"));
  EXPECT_THAT(refusal("phi", R"({"partial_rotary_factor":0.3,"head_dim":10})"),
              HasSubstr("must be even"));
  EXPECT_THAT(refusal("phi3", R"({"rope_scaling":{"type":"linear","factor":2}})"),
              HasSubstr("rotary scaling of phi3"));
  EXPECT_THAT(refusal("llama", R"({"rope_scaling":{"type":"linear"}})"),
              HasSubstr("factor is missing"));
  EXPECT_THAT(refusal("llama", R"({"rope_scaling":{"type":"llama3","factor":2}})"),
              HasSubstr("low_freq_factor is missing"));
  EXPECT_THAT(refusal("bloom", R"({"sliding_window":5})"), HasSubstr("sliding_window"));
}

TEST(FlopsPerToken, CountsTheKeysOfWindowsAndProjections) {
  const auto all = read("mistral", R"({"sliding_window":null})");
  const auto windowed = read("mistral", R"({"sliding_window":16})");
  // Of 64 positions the first 16 see 8 keys on average, the others 16.
  EXPECT_DOUBLE_EQ(flops_per_token(all, 64) - flops_per_token(windowed, 64),
                   12.0 * 4 * 48 * (32 - (16 * 8 + 48 * 16) / 64.0));
  const auto projected = read("opt", R"({"word_embed_proj_dim":10})");
  const auto plain = read("opt");
  EXPECT_DOUBLE_EQ(flops_per_token(projected, 64) - flops_per_token(plain, 64),
                   6.0 * (97 * 10 + 2 * 10 * 48 - 97 * 48));
}

// Layers with the window turn by a base of their own, which is never scaled.
TEST(Families, Gemma3HasTwoRotaryBasesInEitherForm) {
  const auto spec = read("gemma3_text", R"({"rope_theta":500,"rope_local_base_freq":30,
      "rope_scaling":{"rope_type":"linear","factor":8}})");
  EXPECT_EQ(spec.rope_theta, 500);
  EXPECT_EQ(spec.window_rope_theta, 30);
  EXPECT_EQ(spec.rope_scaling.factor, 8);
  EXPECT_EQ(spec, read("gemma3_text", R"({"rope_parameters":{
      "full_attention":{"rope_type":"linear","factor":8,"rope_theta":500},
      "sliding_attention":{"rope_type":"default","rope_theta":30}}})"));
  EXPECT_THAT(refusal("gemma3_text", R"({"rope_parameters":{
      "sliding_attention":{"rope_type":"linear","factor":8}}})"),
              HasSubstr("layers with a window"));
}

}  // namespace
}  // namespace hydrofoil::spec::families_test
