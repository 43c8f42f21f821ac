// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::spec::blocks_test {
namespace {

using ::testing::ElementsAre;

ModelSpec gpt2_small() {
  return model_spec_from_hf(R"({"model_type":"gpt2","vocab_size":50257,"n_positions":1024,
      "n_embd":768,"n_layer":12,"n_head":12})",
                            "test");
}

ModelSpec smollm2_135m() {
  return model_spec_from_hf(R"({"model_type":"llama","vocab_size":49152,"hidden_size":576,
      "intermediate_size":1536,"num_hidden_layers":30,"num_attention_heads":9,
      "num_key_value_heads":3,"tie_word_embeddings":true,"max_position_embeddings":8192})",
                            "test");
}

std::map<std::string, ParameterSpec> by_name(const ModelSpec& spec) {
  std::map<std::string, ParameterSpec> result;
  for (const auto& block : blocks(spec))
    for (const auto& parameter : block.parameters) {
      EXPECT_TRUE(result.emplace(parameter.name, parameter).second)
          << parameter.name << " is listed twice";
    }
  return result;
}

// The published sizes: what these checkpoints hold on disk.
TEST(Blocks, CountTheParametersOfKnownModels) {
  EXPECT_EQ(parameter_count(gpt2_small()), 124'439'808);
  EXPECT_EQ(parameter_count(smollm2_135m()), 134'515'008);
  const auto llama2_7b = model_spec_from_hf(
      R"({"model_type":"llama","vocab_size":32000,"hidden_size":4096,"intermediate_size":11008,
      "num_hidden_layers":32,"num_attention_heads":32,"tie_word_embeddings":false})",
      "test");
  EXPECT_EQ(parameter_count(llama2_7b), 6'738'415'616);
  const auto gpt2_xl = model_spec_from_hf(
      R"({"model_type":"gpt2","vocab_size":50257,"n_positions":1024,"n_embd":1600,"n_layer":48,
      "n_head":25})",
      "test");
  EXPECT_EQ(parameter_count(gpt2_xl), 1'557'611'200);
}

TEST(Blocks, AreTheEmbeddingThenEachLayerThenTheHead) {
  const auto list = blocks(gpt2_small());
  ASSERT_EQ(list.size(), 14u);
  EXPECT_EQ(list.front().name, "embedding");
  EXPECT_EQ(list[1].name, "layers.0");
  EXPECT_EQ(list[12].name, "layers.11");
  EXPECT_EQ(list.back().name, "head");
}

TEST(Blocks, NameGpt2ParametersAsTransformersSavesThem) {
  const auto all = by_name(gpt2_small());
  EXPECT_EQ(all.size(), 148u);  // 2 + 12 * 12 + 2
  EXPECT_THAT(all.at("transformer.wte.weight").shape, ElementsAre(50257, 768));
  EXPECT_THAT(all.at("transformer.wpe.weight").shape, ElementsAre(1024, 768));
  EXPECT_THAT(all.at("transformer.h.0.attn.c_attn.weight").shape, ElementsAre(768, 2304));
  EXPECT_THAT(all.at("transformer.h.0.attn.c_attn.bias").shape, ElementsAre(2304));
  EXPECT_THAT(all.at("transformer.h.3.attn.c_proj.weight").shape, ElementsAre(768, 768));
  EXPECT_THAT(all.at("transformer.h.11.mlp.c_fc.weight").shape, ElementsAre(768, 3072));
  EXPECT_THAT(all.at("transformer.h.11.mlp.c_proj.weight").shape, ElementsAre(3072, 768));
  for (const char* name :
       {"transformer.h.0.ln_1.weight", "transformer.h.0.ln_1.bias", "transformer.h.0.ln_2.weight",
        "transformer.h.0.ln_2.bias", "transformer.h.0.mlp.c_fc.bias", "transformer.ln_f.weight",
        "transformer.ln_f.bias"})
    EXPECT_TRUE(all.contains(name)) << name;
  EXPECT_FALSE(all.contains("lm_head.weight"));
}

TEST(Blocks, NameLlamaParametersAsTransformersSavesThem) {
  auto spec = smollm2_135m();
  spec.tied_head = false;
  const auto all = by_name(spec);
  EXPECT_EQ(all.size(), 273u);  // 1 + 30 * 9 + 2
  EXPECT_THAT(all.at("model.embed_tokens.weight").shape, ElementsAre(49152, 576));
  EXPECT_THAT(all.at("model.layers.0.self_attn.q_proj.weight").shape, ElementsAre(576, 576));
  EXPECT_THAT(all.at("model.layers.0.self_attn.k_proj.weight").shape, ElementsAre(192, 576));
  EXPECT_THAT(all.at("model.layers.29.self_attn.v_proj.weight").shape, ElementsAre(192, 576));
  EXPECT_THAT(all.at("model.layers.29.mlp.gate_proj.weight").shape, ElementsAre(1536, 576));
  EXPECT_THAT(all.at("model.layers.29.mlp.down_proj.weight").shape, ElementsAre(576, 1536));
  for (const char* name :
       {"model.layers.7.input_layernorm.weight", "model.layers.7.post_attention_layernorm.weight",
        "model.layers.7.self_attn.o_proj.weight", "model.layers.7.mlp.up_proj.weight",
        "model.norm.weight", "lm_head.weight"})
    EXPECT_TRUE(all.contains(name)) << name;
}

TEST(Blocks, GiveLlamaBiasesAndOddHeadSizesTheirShapes) {
  auto spec = smollm2_135m();
  spec.attention_bias = spec.mlp_bias = true;
  spec.head_dim = 80;  // wider than hidden / heads
  const auto all = by_name(spec);
  EXPECT_THAT(all.at("model.layers.0.self_attn.q_proj.weight").shape, ElementsAre(720, 576));
  EXPECT_THAT(all.at("model.layers.0.self_attn.o_proj.weight").shape, ElementsAre(576, 720));
  EXPECT_THAT(all.at("model.layers.0.self_attn.o_proj.bias").shape, ElementsAre(576));
  EXPECT_THAT(all.at("model.layers.0.self_attn.k_proj.bias").shape, ElementsAre(240));
  EXPECT_THAT(all.at("model.layers.0.mlp.down_proj.bias").shape, ElementsAre(576));
  EXPECT_THAT(all.at("model.layers.0.mlp.gate_proj.bias").shape, ElementsAre(1536));
}

TEST(Blocks, InitialiseAndDecayByKindOfParameter) {
  for (const auto& spec : {gpt2_small(), smollm2_135m()})
    for (const auto& [name, parameter] : by_name(spec)) {
      EXPECT_EQ(parameter.decay, parameter.shape.size() == 2) << name;
      if (parameter.decay) {
        EXPECT_EQ(parameter.init, Init::kNormal) << name;
        const bool residual = name.ends_with("c_proj.weight");
        EXPECT_DOUBLE_EQ(parameter.deviation, residual ? 0.02 / std::sqrt(24.0) : 0.02) << name;
      } else {
        EXPECT_EQ(parameter.init, name.ends_with(".bias") ? Init::kZeros : Init::kOnes) << name;
      }
    }
}

// Counted by hand for GPT-2: per layer 12 * 768^2 matrix elements, and the tied head.
TEST(FlopsPerToken, CountsMatricesAndCausalAttention) {
  const double matrices = 12.0 * 12 * 768 * 768 + 50257.0 * 768;
  const double attention = 12.0 * 12 * 768 * 1024 / 2;
  EXPECT_DOUBLE_EQ(flops_per_token(gpt2_small(), 1024), 6 * matrices + attention);
  auto untied = gpt2_small();
  untied.tied_head = false;
  EXPECT_EQ(flops_per_token(untied, 1024), flops_per_token(gpt2_small(), 1024));
}

}  // namespace
}  // namespace hydrofoil::spec::blocks_test
