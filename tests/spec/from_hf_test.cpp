// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::spec::from_hf_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

Json gpt2() {
  return Json::parse(R"({"model_type":"gpt2","vocab_size":97,"n_positions":33,"n_embd":60,
      "n_layer":3,"n_head":5})");
}
Json llama() {
  return Json::parse(R"({"model_type":"llama","vocab_size":97,"hidden_size":60,
      "intermediate_size":100,"num_hidden_layers":3,"num_attention_heads":6})");
}
Json with(Json config, const char* key, Json value) {
  config[key] = std::move(value);
  return config;
}
ModelSpec read(const Json& config) {
  return model_spec_from_hf(config.dump(), "m/config.json");
}

// The message of the refusal, or "" when there is none.
std::string refusal_of_text(const std::string& text) {
  try {
    model_spec_from_hf(text, "m/config.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig);
    EXPECT_THAT(error.where(), testing::StartsWith("m/config.json"));
    return error.line();
  }
  return "";
}
std::string refusal(const Json& config) {
  return refusal_of_text(config.dump());
}

TEST(FromHf, ReadsGpt2WithTheDefaultsOfTransformers) {
  const ModelSpec spec = read(gpt2());
  EXPECT_EQ(spec.family, "gpt2");
  EXPECT_EQ(spec.kv_heads, 5);
  EXPECT_EQ(spec.head_dim, 12);
  EXPECT_EQ(spec.intermediate_size, 240);
  EXPECT_EQ(spec.max_positions, 33);
  EXPECT_EQ(spec.activation, Activation::kGeluTanh);
  EXPECT_EQ(spec.norm_epsilon, 1e-5);
  EXPECT_TRUE(spec.tied_head && spec.fused_qkv && spec.transposed_linear && spec.attention_bias &&
              spec.mlp_bias);
  EXPECT_FALSE(spec.gated_mlp);
}

TEST(FromHf, ReadsLlamaWithTheDefaultsOfTransformers) {
  const ModelSpec spec = read(llama());
  EXPECT_EQ(spec.family, "llama");
  EXPECT_EQ(spec.kv_heads, 6);
  EXPECT_EQ(spec.head_dim, 10);
  EXPECT_EQ(spec.max_positions, 2048);
  EXPECT_EQ(spec.activation, Activation::kSilu);
  EXPECT_EQ(spec.norm, Norm::kRmsNorm);
  EXPECT_EQ(spec.norm_epsilon, 1e-6);
  EXPECT_EQ(spec.rope_theta, 10000.0);
  EXPECT_TRUE(spec.gated_mlp);
  EXPECT_FALSE(spec.tied_head || spec.fused_qkv || spec.transposed_linear || spec.attention_bias ||
               spec.mlp_bias);
}

TEST(FromHf, ReadsEverySettingThatIsNotADefault) {
  auto config = with(with(gpt2(), "n_inner", 77), "activation_function", "gelu");
  config["layer_norm_epsilon"] = 1e-3;
  config["tie_word_embeddings"] = false;
  config["initializer_range"] = 0.5;
  const ModelSpec a = read(config);
  EXPECT_EQ(a.intermediate_size, 77);
  EXPECT_EQ(a.activation, Activation::kGelu);
  EXPECT_EQ(a.norm_epsilon, 1e-3);
  EXPECT_EQ(a.initializer_range, 0.5);
  EXPECT_FALSE(a.tied_head);

  config = with(with(llama(), "num_key_value_heads", 2), "head_dim", 32);
  config["rope_theta"] = 500000;
  config["attention_bias"] = config["mlp_bias"] = config["tie_word_embeddings"] = true;
  const ModelSpec b = read(config);
  EXPECT_EQ(b.kv_heads, 2);
  EXPECT_EQ(b.head_dim, 32);
  EXPECT_EQ(b.rope_theta, 500000.0);
  EXPECT_TRUE(b.attention_bias && b.mlp_bias && b.tied_head);
}

TEST(FromHf, AcceptsAliasesAndBothFormsOfRotarySettings) {
  const ModelSpec spec = read(Json::parse(R"({"model_type":"gpt2","vocab_size":97,
      "max_position_embeddings":33,"hidden_size":60,"num_hidden_layers":3,
      "num_attention_heads":5,"n_inner":null})"));
  EXPECT_EQ(spec, read(gpt2()));
  const Json parameters = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  EXPECT_EQ(read(with(llama(), "rope_parameters", parameters)).rope_theta, 5e5);
  EXPECT_EQ(read(with(llama(), "rope_scaling", nullptr)).rope_theta, 1e4);
}

TEST(FromHf, RoundTripsThroughHfConfig) {
  for (const auto& config :
       {gpt2(), with(with(gpt2(), "n_inner", 77), "tie_word_embeddings", false),
        with(gpt2(), "activation_function", "silu"), llama(),
        with(with(llama(), "head_dim", 32), "tie_word_embeddings", true),
        with(with(llama(), "rope_theta", 123456.789), "mlp_bias", true)}) {
    const ModelSpec spec = read(config);
    EXPECT_EQ(model_spec_from_hf(hf_config(spec), "again"), spec) << config;
    EXPECT_THAT(settings_not_applied(hf_config(spec), "again"), IsEmpty());
  }
  const Json written = Json::parse(hf_config(read(llama())));
  EXPECT_EQ(written["architectures"], Json({"LlamaForCausalLM"}));
  EXPECT_EQ(Json::parse(hf_config(read(gpt2())))["architectures"], Json({"GPT2LMHeadModel"}));
}

TEST(FromHf, NamesDropoutAsNotApplied) {
  const auto config = with(with(gpt2(), "resid_pdrop", 0.1), "attn_pdrop", 0.0);
  EXPECT_THAT(settings_not_applied(config.dump(), "m"), ElementsAre(HasSubstr("resid_pdrop 0.1")));
  EXPECT_THAT(settings_not_applied(gpt2().dump(), "m"), IsEmpty());
}

TEST(FromHf, RefusesMissingSizesByName) {
  for (const char* key : {"vocab_size", "n_positions", "n_embd", "n_layer", "n_head"}) {
    auto config = gpt2();
    config.erase(key);
    EXPECT_THAT(refusal(config), HasSubstr(std::string(key) + " is missing"));
  }
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads"}) {
    auto config = llama();
    config.erase(key);
    EXPECT_THAT(refusal(config), HasSubstr(std::string(key) + " is missing"));
  }
}

TEST(FromHf, RefusesSizesOfTheWrongKind) {
  for (const Json& bad : {Json(0), Json(-1), Json(12.5), Json("12"), Json(true), Json::array(),
                          Json(1e30), Json(18446744073709551615u), Json(int64_t{1} << 40)})
    EXPECT_THAT(refusal(with(gpt2(), "n_layer", bad)), HasSubstr("n_layer must be")) << bad;
}

TEST(FromHf, RefusesContradictions) {
  EXPECT_THAT(refusal(with(gpt2(), "n_head", 7)), HasSubstr("n_embd 60 is not a multiple of"));
  EXPECT_THAT(refusal(with(gpt2(), "hidden_size", 61)), HasSubstr("another name for it, is 60"));
  EXPECT_THAT(refusal(with(llama(), "num_key_value_heads", 4)), HasSubstr("num_key_value_heads 4"));
  EXPECT_THAT(refusal(with(llama(), "num_attention_heads", 7)), HasSubstr("head_dim is not given"));
  EXPECT_THAT(refusal(with(llama(), "head_dim", 15)), HasSubstr("must be even"));
  EXPECT_THAT(refusal(with(llama(), "head_dim", 1 << 23)), HasSubstr("6 heads of 8388608"));
  EXPECT_THAT(refusal(with(llama(), "rms_norm_eps", 0)), HasSubstr("rms_norm_eps"));
  const auto twice = with(llama(), "rope_parameters", Json{{"rope_theta", 1e6}});
  EXPECT_THAT(refusal(with(twice, "rope_theta", 1e4)), HasSubstr("different values"));
}

TEST(FromHf, RefusesWhatWouldChangeResults) {
  for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"})
    EXPECT_THAT(refusal(with(gpt2(), key, true)), HasSubstr(key));
  EXPECT_THAT(refusal(with(gpt2(), "scale_attn_weights", false)), HasSubstr("scale_attn_weights"));
  EXPECT_THAT(refusal(with(gpt2(), "activation_function", "mish")), HasSubstr("\"mish\""));
  EXPECT_THAT(refusal(with(llama(), "sliding_window", 4096)), HasSubstr("sliding_window"));
  EXPECT_THAT(refusal(with(llama(), "partial_rotary_factor", 0.5)), HasSubstr("partial_rotary"));
  EXPECT_THAT(refusal(with(llama(), "quantization_config", Json{{"bits", 4}})),
              HasSubstr("quantization_config"));
  for (const char* key : {"type", "rope_type"})
    EXPECT_THAT(refusal(with(llama(), "rope_scaling", Json{{key, "longrope"}, {"factor", 8}})),
                HasSubstr("\"longrope\""));
}

TEST(FromHf, RefusesOtherFamiliesWithTheNearestKnownOne) {
  EXPECT_THAT(refusal(with(gpt2(), "model_type", "mamba")),
              testing::AllOf(HasSubstr("\"mamba\""), HasSubstr("known: gpt2, gptj")));
  for (const auto& [wanted, nearest] : std::map<std::string, std::string>{{"gemma3", "gemma"},
                                                                          {"qwen3_moe", "qwen3"},
                                                                          {"gpt_neo", "gpt_neox"},
                                                                          {"mixtral", "mistral"},
                                                                          {"llama4", "llama"}})
    EXPECT_THAT(refusal(with(gpt2(), "model_type", wanted)), HasSubstr("nearest: " + nearest));
  EXPECT_THAT(refusal_of_text(R"({"vocab_size":1})"), HasSubstr("model_type is missing"));
}

TEST(FromHf, RefusesTextThatIsNotAConfig) {
  for (const char* text :
       {"", "{", "[]", "12", "null", "{\"model_type\":}", "\xff\xfe", "{\"a\":1}x"})
    EXPECT_NE(refusal_of_text(text), "") << text;
  // Values are written out again in messages, by recursion.
  EXPECT_THAT(refusal_of_text("{\"model_type\":" + std::string(200000, '[')), HasSubstr("nested"));
}

}  // namespace
}  // namespace hydrofoil::spec::from_hf_test
