// SPDX-License-Identifier: Apache-2.0
// Reads a byte-level BPE or a unigram tokenizer from GGUF metadata (keys tokenizer.ggml.*).
#include <string_view>
#include <unordered_map>
#include <utility>

#include "hydrofoil/core/base64.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/spec/from_gguf.h"
#include "hydrofoil/spec/gguf_rules.h"

namespace hydrofoil::spec {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;

class Reader {
 public:
  Reader(const io::GgufHeader& header, const std::string& where) : header_(header), where_(where) {}

  [[noreturn]] void refuse(const std::string& message, const std::string& hint = {}) const {
    throw Error(ExitCode::kData, message, where_, hint);
  }
  const io::GgufValue* find(const char* key) const {
    return header_.find("tokenizer.ggml." + std::string(key));
  }
  std::string text(const char* key) const {
    const std::string* value = io::as_text(find(key));
    if (!value) refuse("tokenizer.ggml." + std::string(key) + " is missing or no text");
    return *value;
  }
  const std::vector<std::string>& texts(const char* key) const {
    const auto* value = io::as_texts(find(key));
    if (!value) refuse("tokenizer.ggml." + std::string(key) + " is missing or no list of texts");
    return *value;
  }
  bool flag(const char* key, bool absent) const {
    if (!find(key)) return absent;
    const auto value = io::as_flag(find(key));
    if (!value) refuse("tokenizer.ggml." + std::string(key) + " must be true or false");
    return *value;
  }
  // The id that a key names, as an entry of the vocabulary.
  int32_t id(const char* key, size_t vocabulary) const {
    const auto value = io::as_integer(find(key));
    if (!value || *value < 0 || static_cast<uint64_t>(*value) >= vocabulary)
      refuse("tokenizer.ggml." + std::string(key) + " is missing or not an id below " +
             std::to_string(vocabulary));
    return static_cast<int32_t>(*value);
  }

 private:
  const io::GgufHeader& header_;
  const std::string& where_;
};

const GgufRule& rule_of(const Reader& reader) {
  const std::string name = reader.text("pre");
  std::string known;
  for (const GgufRule& rule : gguf_rules()) {
    if (rule.name == name) return rule;
    known += (known.empty() ? "" : ", ") + std::string(rule.name);
  }
  reader.refuse("the splitting rule \"" + name + "\" (tokenizer.ggml.pre) is not supported",
                "supported: " + known);
}

const std::vector<std::string>& read_tokens(const Reader& reader) {
  const auto& tokens = reader.texts("tokens");
  if (tokens.empty() || tokens.size() > kMaxTokens)
    reader.refuse("has " + std::to_string(tokens.size()) + " tokens, expected 1 to " +
                  std::to_string(kMaxTokens));
  return tokens;
}

// A number for each token.
template <class T>
std::vector<T> per_token(const Reader& reader, const std::string& key, size_t count,
                         std::optional<std::vector<T>> numbers) {
  if (!numbers || numbers->size() != count)
    reader.refuse("tokenizer.ggml." + key + " is not a list of " + std::to_string(count) +
                  " numbers, one for each token");
  return *std::move(numbers);
}

std::vector<int64_t> token_types(const Reader& reader, size_t count) {
  if (!reader.find("token_type"))
    return std::vector<int64_t>(count, static_cast<int64_t>(GgufTokenType::kNormal));
  return per_token(reader, "token_type", count, io::as_integers(reader.find("token_type")));
}

bool is_added(GgufTokenType type) {
  return type == GgufTokenType::kControl || type == GgufTokenType::kUserDefined ||
         type == GgufTokenType::kUnknown;
}

text::AddedToken added_token(size_t id, const std::string& content, GgufTokenType type) {
  return {.id = static_cast<int32_t>(id),
          .content = content,
          .special = type != GgufTokenType::kUserDefined};
}

[[noreturn]] void refuse_type(const Reader& reader, size_t id, int64_t type) {
  reader.refuse("token " + std::to_string(id) + " has the type " + std::to_string(type) +
                    ", which is not supported",
                "supported are the vocabularies of byte-level BPE and of unigram");
}

void read_vocabulary(const Reader& reader, text::TokenizerSpec& spec) {
  const auto& tokens = read_tokens(reader);
  const std::vector<int64_t> types = token_types(reader, tokens.size());
  spec.bpe.tokens.resize(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    const auto type = static_cast<GgufTokenType>(types[id]);
    if (type == GgufTokenType::kUnused) continue;  // a row of the embedding without a text
    if (type == GgufTokenType::kNormal) {
      auto bytes = text::from_byte_level(tokens[id]);
      if (!bytes || bytes->empty())
        reader.refuse("token " + std::to_string(id) + " is not in the byte-level alphabet",
                      "only byte-level BPE vocabularies are supported");
      spec.bpe.tokens[id] = std::move(*bytes);
    } else if (is_added(type)) {
      spec.bpe.tokens[id] = tokens[id];
      spec.added_tokens.push_back(added_token(id, tokens[id], type));
    } else {
      refuse_type(reader, id, types[id]);
    }
  }
}

void read_merges(const Reader& reader, text::TokenizerSpec& spec) {
  std::unordered_map<std::string_view, int32_t> ids;
  const auto& tokens = reader.texts("tokens");
  for (size_t id = 0; id < tokens.size(); ++id) ids.emplace(tokens[id], static_cast<int32_t>(id));
  for (const std::string& merge : reader.texts("merges")) {
    const size_t space = merge.find(' ');
    const std::string_view left = std::string_view(merge).substr(0, space);
    const std::string_view right =
        space == std::string::npos ? "" : std::string_view(merge).substr(space + 1);
    const auto a = ids.find(left), b = ids.find(right);
    if (a == ids.end() || b == ids.end())
      reader.refuse("merge " + std::to_string(spec.bpe.merges.size()) +
                    " is not two tokens of the vocabulary with a space between them");
    spec.bpe.merges.emplace_back(a->second, b->second);
  }
}

text::TokenizerSpec read_bpe(const Reader& reader) {
  const GgufRule& rule = rule_of(reader);
  text::TokenizerSpec spec;
  spec.split = rule.split;
  spec.split.back().add_prefix_space = reader.flag("add_space_prefix", false);
  spec.normalize = rule.normalize;
  spec.bpe.ignore_merges = rule.ignore_merges;
  read_vocabulary(reader, spec);
  read_merges(reader, spec);
  if (reader.flag("add_bos_token", rule.begins_with_bos))
    spec.prefix = {reader.id("bos_token_id", spec.bpe.tokens.size())};
  if (reader.flag("add_eos_token", false))
    spec.suffix = {reader.id("eos_token_id", spec.bpe.tokens.size())};
  return spec;
}

void read_pieces(const Reader& reader, text::TokenizerSpec& spec) {
  text::UnigramSpec& unigram = spec.unigram.emplace();
  const auto& tokens = read_tokens(reader);
  const auto types = token_types(reader, tokens.size());
  const auto scores =
      per_token(reader, "scores", tokens.size(), io::as_numbers(reader.find("scores")));
  size_t count = tokens.size();  // but for rows of the embedding without a text, at its end
  while (count > 0 && types[count - 1] == static_cast<int64_t>(GgufTokenType::kUnused)) --count;
  for (size_t id = 0; id < count; ++id) {
    const auto type = static_cast<GgufTokenType>(types[id]);
    const bool unused = type == GgufTokenType::kUnused;
    unigram.tokens.push_back(unused ? std::string() : tokens[id]);
    unigram.scores.push_back(unused ? 0 : scores[id]);
    if (is_added(type))
      spec.added_tokens.push_back(added_token(id, tokens[id], type));
    else if (type == GgufTokenType::kByte)
      unigram.byte_fallback = true;
    else if (type != GgufTokenType::kNormal && !unused)
      refuse_type(reader, id, types[id]);
  }
  unigram.unknown = reader.id("unknown_token_id", count);
}

text::TokenizerSpec read_unigram(const Reader& reader) {
  text::TokenizerSpec spec;
  read_pieces(reader, spec);
  if (reader.find("precompiled_charsmap")) {
    const auto table = io::as_bytes(reader.find("precompiled_charsmap"));
    if (!table) reader.refuse("tokenizer.ggml.precompiled_charsmap is no list of bytes");
    spec.normalize = {
        {.kind = text::NormalizeStep::Kind::kCharsmap, .content = encode_base64(*table)}};
  }
  const bool removes = reader.flag("remove_extra_whitespaces", false);
  spec.unigram->drops_first_space = reader.flag("add_space_prefix", false);
  if (removes && !spec.unigram->drops_first_space)
    reader.refuse("a tokenizer that removes extra spaces without adding one is not supported",
                  "supported: tokenizer.ggml.add_space_prefix beside remove_extra_whitespaces");
  spec.split = sentence_piece_split(removes, spec.unigram->drops_first_space);
  const size_t count = spec.unigram->tokens.size();
  if (reader.flag("add_bos_token", false)) spec.prefix = {reader.id("bos_token_id", count)};
  if (reader.flag("add_eos_token", true)) spec.suffix = {reader.id("eos_token_id", count)};
  return spec;
}

}  // namespace

text::TokenizerSpec tokenizer_spec_from_gguf(const io::GgufHeader& header,
                                             const std::string& where) {
  const Reader reader(header, where);
  const std::string model = reader.text("model");
  if (model == "gpt2") return read_bpe(reader);
  if (model == "t5") return read_unigram(reader);
  reader.refuse("a tokenizer of kind \"" + model + "\" is not supported",
                "supported: gpt2 (byte-level BPE), t5 (unigram)");
}

}  // namespace hydrofoil::spec
