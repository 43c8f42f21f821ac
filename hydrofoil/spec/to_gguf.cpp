// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/to_gguf.h"

#include <algorithm>
#include <utility>

#include "hydrofoil/core/base64.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/spec/from_gguf.h"
#include "hydrofoil/spec/gguf_rules.h"
#include "hydrofoil/text/pieces.h"

namespace hydrofoil::spec {
namespace {

using io::GgufEntry;

io::GgufValue size_value(int64_t size) {
  return io::gguf_u32(static_cast<uint32_t>(size));  // sizes are below 2^24
}

io::GgufValue number_value(double number) {
  return io::gguf_f32(static_cast<float>(number));
}

std::vector<GgufEntry> metadata_of(const ModelSpec& spec) {
  const bool rms = spec.norm == Norm::kRmsNorm;
  std::vector<GgufEntry> metadata = {{"general.architecture", io::gguf_text(spec.family)}};
  const auto put = [&](const char* key, io::GgufValue value) {
    metadata.push_back({spec.family + "." + key, std::move(value)});
  };
  put("vocab_size", size_value(spec.vocab_size));
  put("context_length", size_value(spec.max_positions));
  put("embedding_length", size_value(spec.hidden_size));
  put("block_count", size_value(spec.layers));
  put("feed_forward_length", size_value(spec.intermediate_size));
  put("attention.head_count", size_value(spec.heads));
  put("attention.head_count_kv", size_value(spec.kv_heads));
  put(rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
      number_value(spec.norm_epsilon));
  if (spec.positions != Positions::kRotary) return metadata;
  put("attention.key_length", size_value(spec.head_dim));
  put("attention.value_length", size_value(spec.head_dim));
  put("rope.dimension_count", size_value(spec.head_dim));
  put("rope.freq_base", number_value(spec.rope_theta));
  return metadata;
}

// Whoever reads the file must see the same model: settings without a key (another activation,
// windows, scaled rotary positions) show as a difference.
void check_read_back(const ModelSpec& spec, const std::vector<GgufEntry>& metadata,
                     const std::string& where) {
  io::GgufHeader header;
  header.metadata = metadata;
  for (const GgufWeight& weight : gguf_weights(spec))
    header.tensors.push_back({weight.stored_name, GgmlType::kF32, weight.stored_shape(), 0, 0});
  ModelSpec again = model_spec_from_gguf(header, where);
  again.initializer_range = spec.initializer_range;  // of training only
  if (again != spec)
    throw Error(ExitCode::kConfig,
                "a setting of this " + spec.family + " model has no key in GGUF files", where,
                "an activation, window, bias or rotary scaling that is not the family's usual one");
}

// The name of the rule that cuts texts as this tokenizer does.
const GgufRule& rule_of(const text::TokenizerSpec& tokenizer, const std::string& where) {
  auto split = tokenizer.split;
  if (!split.empty()) split.back().add_prefix_space = false;
  for (const GgufRule& rule : gguf_rules())
    if (!tokenizer.word_piece && rule.split == split && rule.normalize == tokenizer.normalize &&
        rule.ignore_merges == tokenizer.bpe.ignore_merges)
      return rule;
  throw Error(ExitCode::kData, "no splitting rule of GGUF files cuts texts as this tokenizer does",
              where);
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  void mark(size_t id, GgufTokenType type) { types[id] = static_cast<int32_t>(type); }
};

// `vocab_size` is above all ids.
Vocabulary vocabulary_of(const text::TokenizerSpec& tokenizer, int64_t vocab_size) {
  const auto& tokens = text::tokens_of(tokenizer);
  Vocabulary vocabulary;
  for (size_t id = 0; id < static_cast<size_t>(vocab_size); ++id) {
    const bool known = id < tokens.size() && !tokens[id].empty();
    vocabulary.tokens.push_back(!known              ? "[PAD" + std::to_string(id) + "]"
                                : tokenizer.unigram ? tokens[id]
                                                    : text::to_byte_level(tokens[id]));
    vocabulary.types.push_back(
        static_cast<int32_t>(known ? GgufTokenType::kNormal : GgufTokenType::kUnused));
  }
  for (const auto& token : tokenizer.added_tokens) {
    const auto id = static_cast<size_t>(token.id);
    vocabulary.tokens[id] = token.content;
    vocabulary.mark(id, token.special ? GgufTokenType::kControl : GgufTokenType::kUserDefined);
  }
  return vocabulary;
}

std::vector<GgufEntry> bpe_metadata(const text::TokenizerSpec& tokenizer, Vocabulary vocabulary,
                                    const std::string& where) {
  const GgufRule& rule = rule_of(tokenizer, where);
  std::vector<std::string> merges;
  for (const auto& [left, right] : tokenizer.bpe.merges)
    merges.push_back(vocabulary.tokens.at(static_cast<size_t>(left)) + " " +
                     vocabulary.tokens.at(static_cast<size_t>(right)));
  return {
      {"tokenizer.ggml.model", io::gguf_text("gpt2")},
      {"tokenizer.ggml.pre", io::gguf_text(std::string(rule.name))},
      {"tokenizer.ggml.tokens", io::gguf_texts(std::move(vocabulary.tokens))},
      {"tokenizer.ggml.token_type", io::gguf_i32s(vocabulary.types)},
      {"tokenizer.ggml.merges", io::gguf_texts(std::move(merges))},
      {"tokenizer.ggml.add_space_prefix", io::gguf_flag(tokenizer.split.back().add_prefix_space)}};
}

// Whether extra spaces go, where the tokenizer normalises and cuts as SentencePiece itself does.
bool removes_extra_spaces(const text::TokenizerSpec& tokenizer, const std::string& where) {
  const auto& [tokens, scores, unknown, byte_fallback, space, adds] = *tokenizer.unigram;
  const bool table = tokenizer.normalize.size() == 1 &&
                     tokenizer.normalize[0].kind == text::NormalizeStep::Kind::kCharsmap;
  if ((tokenizer.normalize.empty() || table) && space == text::UnigramSpec().space)
    for (const bool removes : {true, false})
      if ((adds || !removes) && tokenizer.split == sentence_piece_split(removes, adds))
        return removes;
  throw Error(ExitCode::kData,
              "this unigram tokenizer normalises or cuts texts in a way that GGUF cannot describe",
              where, "what it can: a table of characters (Precompiled), then Metaspace");
}

std::vector<GgufEntry> unigram_metadata(const text::TokenizerSpec& tokenizer, Vocabulary vocabulary,
                                        const std::string& where) {
  const bool removes = removes_extra_spaces(tokenizer, where);
  const text::UnigramSpec& unigram = *tokenizer.unigram;
  const auto unknown = static_cast<size_t>(unigram.unknown);
  if (vocabulary.types[unknown] == static_cast<int32_t>(GgufTokenType::kControl))
    vocabulary.mark(unknown, GgufTokenType::kUnknown);
  std::vector<float> scores(vocabulary.tokens.size());
  for (size_t id = 0; id < unigram.tokens.size(); ++id) {
    scores[id] = static_cast<float>(unigram.scores[id]);
    if (unigram.byte_fallback && text::byte_of_token(unigram.tokens[id]))
      vocabulary.mark(id, GgufTokenType::kByte);
  }
  std::vector<GgufEntry> metadata = {
      {"tokenizer.ggml.model", io::gguf_text("t5")},
      {"tokenizer.ggml.pre", io::gguf_text("default")},
      {"tokenizer.ggml.tokens", io::gguf_texts(std::move(vocabulary.tokens))},
      {"tokenizer.ggml.scores", io::gguf_f32s(scores)},
      {"tokenizer.ggml.token_type", io::gguf_i32s(vocabulary.types)},
      {"tokenizer.ggml.unknown_token_id", size_value(unigram.unknown)},
      {"tokenizer.ggml.add_space_prefix", io::gguf_flag(unigram.drops_first_space)},
      {"tokenizer.ggml.remove_extra_whitespaces", io::gguf_flag(removes)}};
  if (!tokenizer.normalize.empty())
    metadata.push_back({"tokenizer.ggml.precompiled_charsmap",
                        io::gguf_bytes(*decode_base64(tokenizer.normalize[0].content))});
  return metadata;
}

// add_bos_token and bos_token_id, or those of eos.
void add_template(const std::vector<int32_t>& ids, const std::string& name,
                  const std::string& where, std::vector<GgufEntry>& metadata) {
  if (ids.size() > 1)
    throw Error(ExitCode::kData,
                "GGUF has no place for " + std::to_string(ids.size()) + " tokens around a text",
                where);
  metadata.push_back({"tokenizer.ggml.add_" + name + "_token", io::gguf_flag(!ids.empty())});
  if (!ids.empty())
    metadata.push_back({"tokenizer.ggml." + name + "_token_id", size_value(ids[0])});
}

}  // namespace

std::vector<GgufEntry> gguf_metadata(const ModelSpec& spec, const std::string& where) {
  if (!has_gguf_form(spec.family))
    throw Error(ExitCode::kConfig,
                "a model of family \"" + spec.family + "\" has no GGUF form here", where,
                "known: gpt2, llama, qwen2, qwen3");
  const std::vector<GgufEntry> metadata = metadata_of(spec);
  check_read_back(spec, metadata, where);
  return metadata;
}

std::vector<GgufEntry> gguf_tokenizer_metadata(const text::Tokenizer& source, int64_t vocab_size,
                                               const std::string& where) {
  const text::TokenizerSpec& tokenizer = source.spec();
  if (source.vocab_size() > vocab_size)
    throw Error(ExitCode::kData,
                "the tokenizer has ids up to " + std::to_string(source.vocab_size() - 1) +
                    ", the model " + std::to_string(vocab_size) + " tokens",
                where);
  Vocabulary vocabulary = vocabulary_of(tokenizer, vocab_size);
  auto metadata = tokenizer.unigram ? unigram_metadata(tokenizer, std::move(vocabulary), where)
                                    : bpe_metadata(tokenizer, std::move(vocabulary), where);
  add_template(tokenizer.prefix, "bos", where, metadata);
  add_template(tokenizer.suffix, "eos", where, metadata);
  return metadata;
}

}  // namespace hydrofoil::spec
