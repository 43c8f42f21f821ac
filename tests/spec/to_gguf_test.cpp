// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/to_gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "hydrofoil/core/error.h"
#include "hydrofoil/spec/from_gguf.h"
#include "hydrofoil/spec/gguf_rules.h"
#include "hydrofoil/text/tokenizer_json.h"

namespace hydrofoil::spec::to_gguf_test {
namespace {

using ::testing::HasSubstr;

io::GgufHeader header_with(std::vector<io::GgufEntry> metadata, const ModelSpec& spec) {
  io::GgufHeader header;
  header.metadata = std::move(metadata);
  for (const GgufWeight& weight : gguf_weights(spec))
    header.tensors.push_back({weight.stored_name, GgmlType::kF32, weight.stored_shape(), 0, 0});
  return header;
}

std::string refusal(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.line();
  }
  return "";
}

ModelSpec model(const std::string& config) {
  return model_spec_from_hf(config, "config.json");
}

TEST(ToGguf, WritesModelsThatReadBackEqual) {
  for (
      const char* config :
      {R"({"model_type":"gpt2","vocab_size":97,"n_positions":33,"n_embd":60,"n_layer":3,"n_head":5})",
       R"({"model_type":"gpt2","vocab_size":97,"n_positions":33,"n_embd":60,"n_layer":1,"n_head":5,
            "n_inner":77,"tie_word_embeddings":false,"layer_norm_epsilon":1e-6})",
       R"({"model_type":"llama","vocab_size":97,"hidden_size":60,"intermediate_size":100,
            "num_hidden_layers":3,"num_attention_heads":6,"num_key_value_heads":2,"head_dim":32,
            "rms_norm_eps":1e-5,"rope_theta":500000,"attention_bias":true,"mlp_bias":true})",
       R"({"model_type":"qwen2","vocab_size":97,"hidden_size":60,"intermediate_size":100,
            "num_hidden_layers":2,"num_attention_heads":6,"num_key_value_heads":2,
            "tie_word_embeddings":true})",
       R"({"model_type":"qwen3","vocab_size":97,"hidden_size":60,"intermediate_size":100,
            "num_hidden_layers":2,"num_attention_heads":6,"num_key_value_heads":2,"head_dim":16})"}) {
    const ModelSpec spec = model(config);
    const auto header = header_with(gguf_metadata(spec, "m"), spec);
    EXPECT_EQ(model_spec_from_gguf(header, "m.gguf"), spec) << config;
  }
}

TEST(ToGguf, RefusesModelsThatGgufCannotDescribe) {
  const auto line = [](const ModelSpec& spec) {
    return refusal([&] { gguf_metadata(spec, "m"); });
  };
  const char* const gpt2 =
      R"({"model_type":"gpt2","vocab_size":97,"n_positions":33,"n_embd":60,"n_layer":3,"n_head":5})";
  ModelSpec spec = model(gpt2);
  spec.activation = Activation::kGelu;
  EXPECT_THAT(line(spec), HasSubstr("m: a setting of this gpt2 model has no key"));
  ModelSpec llama = model(
      R"({"model_type":"llama","vocab_size":97,"hidden_size":60,"intermediate_size":100,
          "num_hidden_layers":3,"num_attention_heads":6})");
  EXPECT_EQ(line(llama), "");
  llama.sliding_window = 8;
  EXPECT_THAT(line(llama), HasSubstr("a setting of this llama model has no key"));
  llama.sliding_window = 0;
  llama.rope_scaling = {.kind = RopeKind::kLinear, .factor = 2};
  EXPECT_THAT(line(llama), HasSubstr("a setting of this llama model has no key"));
  spec = model(gpt2);
  spec.family = "bloom";
  EXPECT_THAT(line(spec), HasSubstr("\"bloom\" has no GGUF form"));
}

// llama.cpp's names, written out; only Llama's queries and keys are stored in pairs.
TEST(GgufWeights, NamesEveryPartOfALayer) {
  const ModelSpec spec = model(
      R"({"model_type":"qwen3","vocab_size":97,"hidden_size":60,"intermediate_size":100,
          "num_hidden_layers":1,"num_attention_heads":6,"num_key_value_heads":2,"head_dim":16})");
  std::vector<std::string> names;
  for (const GgufWeight& weight : gguf_weights(spec)) {
    names.push_back(weight.stored_name);
    EXPECT_EQ(weight.order, GgufOrder::kSame);
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre(
                         "token_embd.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.weight",
                         "blk.0.attn_k.weight", "blk.0.attn_v.weight", "blk.0.attn_q_norm.weight",
                         "blk.0.attn_k_norm.weight", "blk.0.attn_output.weight",
                         "blk.0.ffn_norm.weight", "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight",
                         "blk.0.ffn_down.weight", "output_norm.weight", "output.weight"));
}

// Tokenizers of the HF library, small ones of each rule.
TEST(ToGguf, WritesTokenizersThatReadBackEqual) {
  for (const char* name : {"gpt2", "llama3", "qwen2", "smollm"}) {
    const std::string path = std::string(TOKENIZERS_FOLDER "/") + name + ".json";
    text::Tokenizer tokenizer = text::load_tokenizer(path);
    text::TokenizerSpec spec = tokenizer.spec();
    // What GGUF has no field for.
    for (auto& token : spec.added_tokens) token.lstrip = token.rstrip = token.normalized = false;
    tokenizer = text::Tokenizer(spec);
    const int64_t padded = tokenizer.vocab_size() + 3;
    io::GgufHeader header;
    header.metadata = gguf_tokenizer_metadata(tokenizer, padded, name);
    const text::Tokenizer again(tokenizer_spec_from_gguf(header, name));
    for (const char* text : {"Hello 12345 w\xC3\xB6rld's end\n\n x", "<|begin|>a<|endoftext|>  b"})
      EXPECT_EQ(again.encode(text, {.add_template = true}),
                tokenizer.encode(text, {.add_template = true}))
          << name;
    EXPECT_EQ(again.token_bytes(static_cast<int32_t>(padded - 1)), "");
    EXPECT_EQ(again.spec().bpe.merges, spec.bpe.merges) << name;
  }
}

// T5's table of characters and spaces, XLM-R's bytes; scores as fp32 has them.
TEST(ToGguf, WritesUnigramTokenizersThatReadBackEqual) {
  text::TokenizerSpec t5 = text::load_tokenizer(TOKENIZERS_FOLDER "/t5.json").spec();
  text::TokenizerSpec bytes = text::load_tokenizer(TOKENIZERS_FOLDER "/xlmr.json").spec();
  bytes.normalize.clear();
  bytes.added_tokens.pop_back();  // beyond the vocabulary: see the next test
  bytes.split = sentence_piece_split(/*removes_extra_spaces=*/false, /*adds_space=*/true);
  text::TokenizerSpec bare = bytes;
  bare.split = sentence_piece_split(false, false);
  bare.unigram->drops_first_space = false;
  bare.prefix.clear(), bare.suffix.clear();
  ASSERT_TRUE(bytes.unigram->byte_fallback);
  for (text::TokenizerSpec* spec : {&t5, &bytes, &bare}) {
    for (double& score : spec->unigram->scores) score = static_cast<float>(score);
    for (auto& token : spec->added_tokens)
      token.lstrip = token.rstrip = token.normalized = false;  // what GGUF has no field for
    std::ranges::sort(spec->added_tokens, {}, &text::AddedToken::id);
    const text::Tokenizer tokenizer(*spec);
    io::GgufHeader header;
    header.metadata = gguf_tokenizer_metadata(tokenizer, tokenizer.vocab_size() + 3, "u");
    EXPECT_EQ(tokenizer_spec_from_gguf(header, "u"), *spec);
  }
}

TEST(ToGguf, AUnigramTokenBeyondAGapReadsBackWithoutOnesInIt) {
  text::TokenizerSpec spec = text::load_tokenizer(TOKENIZERS_FOLDER "/t5.json").spec();
  const auto size = static_cast<int32_t>(spec.unigram->tokens.size());
  spec.added_tokens.push_back({.id = size + 3, .content = "<far>", .special = true});
  const text::Tokenizer tokenizer(spec);
  io::GgufHeader header;
  header.metadata = gguf_tokenizer_metadata(tokenizer, size + 9, "u");
  const text::Tokenizer again(tokenizer_spec_from_gguf(header, "u"));
  EXPECT_EQ(again.vocab_size(), size + 4);
  EXPECT_EQ(again.token_bytes(size + 1), "");
  const char* const text = "the time <far> of [PAD601] \xEF\xBC\xA1\xEF\xBC\xA2  w\xC3\xB6rld";
  EXPECT_EQ(again.encode(text, {.add_template = true}),
            tokenizer.encode(text, {.add_template = true}));
}

TEST(ToGguf, RefusesUnigramTokenizersThatGgufCannotDescribe) {
  for (const char* name : {"xlmr", "albert"}) {
    const auto tokenizer =
        text::load_tokenizer(std::string(TOKENIZERS_FOLDER "/") + name + ".json");
    EXPECT_THAT(refusal([&] { gguf_tokenizer_metadata(tokenizer, 1000, "t"); }),
                HasSubstr("t: this unigram tokenizer normalises or cuts texts in a way"))
        << name;
  }
}

TEST(FromGguf, RefusesBrokenUnigramTokenizers) {
  const text::Tokenizer t5 = text::load_tokenizer(TOKENIZERS_FOLDER "/t5.json");
  const auto metadata = gguf_tokenizer_metadata(t5, t5.vocab_size(), "t");
  const auto line = [&](const std::string& key, std::optional<io::GgufValue> value) {
    io::GgufHeader header;
    header.metadata = metadata;
    std::erase_if(header.metadata, [&](const auto& entry) { return entry.key == key; });
    if (value) header.metadata.push_back({key, *value});
    return refusal([&] { tokenizer_spec_from_gguf(header, "t"); });
  };
  const std::string at = "tokenizer.ggml.";
  EXPECT_THAT(line(at + "scores", {}), HasSubstr("scores is not a list of 600 numbers"));
  EXPECT_THAT(line(at + "scores", io::gguf_f32s(std::vector<float>(599))),
              HasSubstr("scores is not a list of 600 numbers"));
  EXPECT_THAT(line(at + "unknown_token_id", io::gguf_u32(600)), HasSubstr("not an id below 600"));
  EXPECT_THAT(line(at + "eos_token_id", {}), HasSubstr("eos_token_id is missing"));
  EXPECT_THAT(line(at + "precompiled_charsmap", io::gguf_text("x")), HasSubstr("no list of bytes"));
  EXPECT_THAT(line(at + "add_space_prefix", io::gguf_flag(false)),
              HasSubstr("removes extra spaces without adding one"));
  EXPECT_THAT(line(at + "model", io::gguf_text("llama")), HasSubstr("supported: gpt2"));
}

TEST(ToGguf, RefusesTokenizersThatGgufCannotDescribe) {
  text::TokenizerSpec spec = text::load_tokenizer(TOKENIZERS_FOLDER "/gpt2.json").spec();
  const auto line = [&](int64_t size) {
    return refusal([&] { gguf_tokenizer_metadata(text::Tokenizer(spec), size, "t"); });
  };
  EXPECT_THAT(line(5), HasSubstr("t: the tokenizer has ids up to"));
  spec.prefix = {0, 1};
  EXPECT_THAT(line(100000), HasSubstr("no place for 2 tokens"));
  spec.split.insert(spec.split.begin(), {.kind = text::SplitStep::Kind::kSplit, .pattern = "x"});
  EXPECT_THAT(line(100000), HasSubstr("no splitting rule"));
}

}  // namespace
}  // namespace hydrofoil::spec::to_gguf_test
