// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/from_gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "hydrofoil/core/error.h"

namespace hydrofoil::spec::from_gguf_test {
namespace {

using io::gguf_f32;
using io::gguf_flag;
using io::gguf_i32s;
using io::gguf_text;
using io::gguf_texts;
using io::gguf_u32;
using io::GgufHeader;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

void set(GgufHeader& header, const std::string& key, io::GgufValue value) {
  for (auto& entry : header.metadata)
    if (entry.key == key) {
      entry.value = std::move(value);
      return;
    }
  header.metadata.push_back({key, std::move(value)});
}
void drop(GgufHeader& header, const std::string& key) {
  std::erase_if(header.metadata, [&](const auto& entry) { return entry.key == key; });
}
io::GgufTensor& tensor(GgufHeader& header, const std::string& name) {
  for (auto& item : header.tensors)
    if (item.name == name) return item;
  header.tensors.push_back({name, GgmlType::kF32, {}, 0, 0});
  return header.tensors.back();
}

ModelSpec small_llama() {
  ModelSpec spec;
  spec.family = "llama";
  spec.vocab_size = 97;
  spec.hidden_size = 60;
  spec.layers = 3;
  spec.heads = 6;
  spec.kv_heads = 2;
  spec.head_dim = 10;
  spec.intermediate_size = 100;
  spec.max_positions = 33;
  spec.norm = Norm::kRmsNorm;
  spec.norm_epsilon = 1e-6;
  spec.positions = Positions::kRotary;
  spec.rope_theta = 5e5;
  spec.activation = Activation::kSilu;
  spec.gated_mlp = true;
  spec.tied_head = false;
  return spec;
}

ModelSpec small_gpt2() {
  ModelSpec spec;
  spec.family = "gpt2";
  spec.vocab_size = 97;
  spec.hidden_size = 60;
  spec.layers = 2;
  spec.heads = spec.kv_heads = 5;
  spec.head_dim = 12;
  spec.intermediate_size = 100;
  spec.max_positions = 33;
  spec.norm_epsilon = 1e-5;
  spec.fused_qkv = spec.transposed_linear = spec.attention_bias = spec.mlp_bias = true;
  return spec;
}

// The header that a converter writes for a spec.
GgufHeader header_of(const ModelSpec& spec) {
  GgufHeader header;
  const std::string family = spec.family + ".";
  const auto size = [](int64_t value) { return gguf_u32(static_cast<uint32_t>(value)); };
  set(header, "general.architecture", gguf_text(spec.family));
  set(header, family + "context_length", size(spec.max_positions));
  set(header, family + "embedding_length", size(spec.hidden_size));
  set(header, family + "block_count", size(spec.layers));
  set(header, family + "feed_forward_length", size(spec.intermediate_size));
  set(header, family + "attention.head_count", size(spec.heads));
  const auto epsilon = gguf_f32(static_cast<float>(spec.norm_epsilon));
  if (spec.family == "llama") {
    set(header, "llama.attention.head_count_kv", size(spec.kv_heads));
    set(header, "llama.attention.layer_norm_rms_epsilon", epsilon);
    set(header, "llama.rope.freq_base", gguf_f32(static_cast<float>(spec.rope_theta)));
    set(header, "llama.rope.dimension_count", size(spec.head_dim));
    set(header, "llama.vocab_size", size(spec.vocab_size));
  } else {
    set(header, "gpt2.attention.layer_norm_epsilon", epsilon);
  }
  for (const GgufWeight& weight : gguf_weights(spec))
    tensor(header, weight.stored_name).shape = weight.stored_shape();
  return header;
}

std::string refusal(const std::function<void()>& act, ExitCode code) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    EXPECT_EQ(error.where(), "m.gguf");
    return error.line();
  }
  return "";
}

TEST(FromGguf, ReadsBackTheSpecOfEachFamily) {
  ModelSpec biased = small_llama(), wide = small_llama();
  biased.attention_bias = biased.mlp_bias = biased.tied_head = true;
  wide.head_dim = 32;  // 6 * 32 is not the hidden size
  for (const ModelSpec& spec : {small_llama(), biased, small_gpt2()})
    EXPECT_EQ(model_spec_from_gguf(header_of(spec), "m.gguf"), spec);
  GgufHeader header = header_of(wide);
  set(header, "llama.attention.key_length", gguf_u32(32));
  set(header, "llama.attention.value_length", gguf_u32(32));
  EXPECT_EQ(model_spec_from_gguf(header, "m.gguf"), wide);
}

TEST(FromGguf, RefusesByNameWhatItCannotRun) {
  struct Case {
    std::function<void(GgufHeader&)> change;
    const char* message;
  };
  const auto put = [](const char* key, io::GgufValue value) {
    return [=](GgufHeader& h) { set(h, key, value); };
  };
  const auto no = [](const char* key) { return [=](GgufHeader& h) { drop(h, key); }; };
  const Case cases[] = {
      {no("general.architecture"), "general.architecture is missing"},
      {put("general.architecture", gguf_text("gemma3")),
       "architecture \"gemma3\" is not supported"},
      {put("general.architecture", gguf_u32(1)), "general.architecture is missing"},
      {no("llama.block_count"), "llama.block_count is missing"},
      {put("llama.block_count", gguf_u32(0)), "must be a whole number from 1 to 4096, not 0"},
      {put("llama.block_count", gguf_u32(4000)), "too few for 4000 layers"},
      {put("llama.block_count", gguf_text("3")), "must be a whole number from 1 to 4096"},
      {put("llama.embedding_length", gguf_u32(1u << 31)), "not 2147483648"},
      {put("llama.attention.head_count", gguf_i32s(std::vector<int32_t>{6, 6, 6})),
       "llama.attention.head_count must be a whole number"},
      {put("llama.attention.head_count_kv", gguf_u32(4)),
       "not a multiple of attention.head_count_kv"},
      {put("llama.attention.head_count", gguf_u32(7)), "is not a multiple of attention.head_count"},
      {put("llama.attention.value_length", gguf_u32(12)), "keys and values of different sizes"},
      {put("llama.rope.dimension_count", gguf_u32(4)), "llama.rope.dimension_count 4"},
      {put("llama.rope.scaling.type", gguf_text("yarn")), "rotary scaling \"yarn\""},
      {put("llama.attention.layer_norm_rms_epsilon", gguf_f32(-1)), "must be a number above 0"},
      {put("llama.expert_count", gguf_u32(8)), "llama.expert_count 8 is not supported"},
      {put("llama.vocab_size", gguf_u32(96)), "llama.vocab_size is another number"},
      {put("split.count", gguf_u32(3)), "is one of 3 parts"},
      {[](GgufHeader& h) { tensor(h, "rope_freqs.weight").shape = {5}; }, "rope_freqs.weight"},
      {[](GgufHeader& h) { tensor(h, "blk.0.extra.weight").shape = {5}; },
       "tensor 'blk.0.extra.weight' has no place in a llama model"},
      {[](GgufHeader& h) { tensor(h, "blk.1.ffn_up.weight").shape = {100, 61}; },
       "tensor 'blk.1.ffn_up.weight' is [100, 61], expected [100, 60]"},
      {[](GgufHeader& h) { tensor(h, "blk.2.attn_q.weight").name = "x"; },
       "has no tensor 'blk.2.attn_q.weight' (model.layers.2.self_attn.q_proj.weight)"},
      {[](GgufHeader& h) { h.tensors.clear(); }, "has no tensor 'token_embd.weight'"},
  };
  for (const Case& item : cases) {
    GgufHeader header = header_of(small_llama());
    item.change(header);
    EXPECT_THAT(refusal([&] { model_spec_from_gguf(header, "m.gguf"); }, ExitCode::kConfig),
                AllOf(StartsWith("m.gguf"), HasSubstr(item.message)));
  }
}

std::vector<float> counting(size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

// Row (head, half, pair) of HF's weight stands at (head, pair, half).
TEST(GgufWeights, TakesQueryRowsOutOfPairs) {
  const GgufWeight weight{"q", "attn_q", {8, 1}, GgufOrder::kRotaryPairs, 4};
  std::vector<float> values(8), stored(8);
  to_hf_order(weight, counting(8), values);
  EXPECT_THAT(values, ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  to_gguf_order(weight, values, stored);
  EXPECT_EQ(stored, counting(8));
}

TEST(GgufWeights, TransposesTheMatricesOfGpt2Only) {
  const auto weights = gguf_weights(small_gpt2());
  size_t transposed = 0;
  for (const GgufWeight& weight : weights) transposed += weight.order == GgufOrder::kTransposed;
  EXPECT_EQ(transposed, 2u * 4);  // not embeddings, norms and biases
  const GgufWeight matrix{"w", "w", {2, 3}, GgufOrder::kTransposed, 0};
  EXPECT_THAT(matrix.stored_shape(), ElementsAre(3, 2));
  std::vector<float> values(6);
  to_hf_order(matrix, counting(6), values);
  EXPECT_THAT(values, ElementsAre(0, 2, 4, 1, 3, 5));
  EXPECT_THROW(to_hf_order(matrix, counting(5), values), std::logic_error);
}

// ---- tokenizer ----------------------------------------------------------------------------------

// Ids: 0 <s>, 1 </s>, 2 a, 3 b, 4 space, 5 "ab", 6 an unused row, 7 user-defined.
GgufHeader small_tokenizer() {
  GgufHeader header;
  set(header, "tokenizer.ggml.model", gguf_text("gpt2"));
  set(header, "tokenizer.ggml.pre", gguf_text("smollm"));
  set(header, "tokenizer.ggml.tokens",
      gguf_texts({"<s>", "</s>", "a", "b", "Ġ", "ab", "[PAD6]", "<tool>"}));
  set(header, "tokenizer.ggml.token_type", gguf_i32s(std::vector<int32_t>{3, 3, 1, 1, 1, 1, 5, 4}));
  set(header, "tokenizer.ggml.merges", gguf_texts({"a b"}));
  set(header, "tokenizer.ggml.bos_token_id", gguf_u32(0));
  set(header, "tokenizer.ggml.eos_token_id", gguf_u32(1));
  return header;
}

text::Tokenizer tokenizer_of(const GgufHeader& header) {
  return text::Tokenizer(tokenizer_spec_from_gguf(header, "m.gguf"));
}

TEST(GgufTokenizer, EncodesWithItsMergesAndSpecialTokens) {
  GgufHeader header = small_tokenizer();
  const auto plain = tokenizer_of(header);
  EXPECT_THAT(plain.encode("ab a<s>b<tool>"), ElementsAre(5, 4, 2, 0, 3, 7));
  EXPECT_TRUE(plain.is_special(0));
  EXPECT_FALSE(plain.is_special(7));
  EXPECT_EQ(plain.token_bytes(4), " ");
  EXPECT_EQ(plain.token_bytes(6), "");
  EXPECT_EQ(plain.vocab_size(), 8);
  EXPECT_THAT(plain.encode("a", {.add_template = true}), ElementsAre(2));
  set(header, "tokenizer.ggml.add_bos_token", gguf_flag(true));
  set(header, "tokenizer.ggml.add_eos_token", gguf_flag(true));
  EXPECT_THAT(tokenizer_of(header).encode("a", {.add_template = true}), ElementsAre(0, 2, 1));
}

// What the rules do to "ab12 ab": the splits that tell them apart.
TEST(GgufTokenizer, CutsNumbersAsTheRuleSays) {
  GgufHeader header = small_tokenizer();
  set(header, "tokenizer.ggml.tokens", gguf_texts({"1", "2", "12", "123", "1234", "3", "4"}));
  set(header, "tokenizer.ggml.merges", gguf_texts({"1 2", "12 3", "123 4"}));
  drop(header, "tokenizer.ggml.token_type");
  const std::pair<const char*, std::vector<int32_t>> rules[] = {
      {"gpt-2", {4}}, {"llama-bpe", {3, 6}}, {"qwen2", {0, 1, 5, 6}}, {"smollm", {0, 1, 5, 6}}};
  for (const auto& [rule, ids] : rules) {
    set(header, "tokenizer.ggml.pre", gguf_text(rule));
    set(header, "tokenizer.ggml.add_bos_token", gguf_flag(false));
    EXPECT_EQ(tokenizer_of(header).encode("1234"), ids) << rule;
  }
}

TEST(GgufTokenizer, RefusesByNameWhatItCannotRead) {
  struct Case {
    const char* key;
    io::GgufValue value;
    const char* message;
  };
  const Case cases[] = {
      {"model", gguf_text("llama"), "a tokenizer of kind \"llama\" is not supported"},
      {"model", gguf_u32(1), "tokenizer.ggml.model is missing or no text"},
      {"pre", gguf_text("tekken"), "the splitting rule \"tekken\""},
      {"tokens", gguf_texts({}), "has 0 tokens"},
      {"tokens", gguf_u32(1), "tokenizer.ggml.tokens is missing or no list of texts"},
      {"tokens", gguf_texts({"a"}), "token_type is not a list of 1 numbers"},
      {"token_type", gguf_i32s(std::vector<int32_t>{3, 3, 1, 1, 1, 1, 1, 6}),
       "token 7 has the type 6"},
      {"token_type", gguf_texts({"a"}), "token_type is not a list"},
      {"merges", gguf_texts({"a b", "ab"}), "merge 1 is not two tokens"},
      {"merges", gguf_texts({"a c"}), "merge 0 is not two tokens"},
      {"add_bos_token", gguf_u32(1), "must be true or false"},
  };
  for (const Case& item : cases) {
    GgufHeader header = small_tokenizer();
    set(header, "tokenizer.ggml." + std::string(item.key), item.value);
    EXPECT_THAT(refusal([&] { tokenizer_spec_from_gguf(header, "m.gguf"); }, ExitCode::kData),
                AllOf(StartsWith("m.gguf"), HasSubstr(item.message)));
  }
  GgufHeader header = small_tokenizer();
  set(header, "tokenizer.ggml.add_bos_token", gguf_flag(true));
  set(header, "tokenizer.ggml.bos_token_id", gguf_u32(8));
  EXPECT_THAT(refusal([&] { tokenizer_spec_from_gguf(header, "m.gguf"); }, ExitCode::kData),
              HasSubstr("not an id below 8"));
  header = small_tokenizer();
  set(header, "tokenizer.ggml.tokens",
      gguf_texts({"<s>", "</s>", "▁a", "b", "Ġ", "ab", "[PAD6]", "<tool>"}));
  EXPECT_THAT(refusal([&] { tokenizer_spec_from_gguf(header, "m.gguf"); }, ExitCode::kData),
              HasSubstr("token 2 is not in the byte-level alphabet"));
}

}  // namespace
}  // namespace hydrofoil::spec::from_gguf_test
