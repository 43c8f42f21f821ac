// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/tokenizer_json.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_map>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/json_steps.h"

namespace hydrofoil::text {
namespace {

using namespace json;

// ---- added tokens -------------------------------------------------------------------------------

std::vector<AddedToken> read_added_tokens(const Json& root) {
  std::vector<AddedToken> tokens;
  if (child(root, "added_tokens").is_null()) return tokens;
  for (const Json& entry : array_at(root, "added_tokens")) {
    if (!entry.is_object()) fail("an added token must be an object");
    AddedToken token;
    token.content = string_at(entry, "content");
    token.id = id_from(child(entry, "id"), "the added token \"" + token.content + "\"");
    token.special = bool_at(entry, "special", false);
    token.lstrip = bool_at(entry, "lstrip", false);
    token.rstrip = bool_at(entry, "rstrip", false);
    token.normalized = bool_at(entry, "normalized", !token.special);
    if (bool_at(entry, "single_word", false))
      refuse("the added token \"" + token.content + "\" with single_word", "single_word false");
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// ---- model --------------------------------------------------------------------------------------

using Ids = std::unordered_map<std::string, int32_t>;

// The tokens by id. Added tokens are listed by their content, all others in the byte-level
// alphabet.
std::vector<std::string> read_vocab(const Json& vocab, const std::vector<AddedToken>& added) {
  Ids literal;
  for (const auto& token : added) literal.emplace(token.content, token.id);
  std::vector<std::string> tokens;
  for (const auto& [text, value] : vocab.items()) {
    const int32_t id = id_from(value, "the token \"" + text + "\"");
    if (static_cast<size_t>(id) >= 4 * vocab.size() + 65536)
      fail("the token \"" + text + "\" has the id " + std::to_string(id) + " in a vocabulary of " +
           std::to_string(vocab.size()));
    const auto found = literal.find(text);
    const auto bytes = found != literal.end() && found->second == id ? text : from_byte_level(text);
    if (!bytes || bytes->empty())
      fail("the token \"" + text + "\" is not in the byte-level alphabet",
           "only byte-level BPE vocabularies are supported");
    if (tokens.size() <= static_cast<size_t>(id)) tokens.resize(id + 1);
    if (!tokens[id].empty()) fail("two tokens have the id " + std::to_string(id));
    tokens[id] = *bytes;
  }
  return tokens;
}

std::vector<std::string> read_plain_vocab(const Json& vocab) {
  std::vector<std::string> tokens;
  for (const auto& [text, value] : vocab.items()) {
    const int32_t id = id_from(value, "the token \"" + text + "\"");
    if (text.empty() || static_cast<size_t>(id) >= 4 * vocab.size() + 65536)
      fail("the token \"" + text + "\" cannot have the id " + std::to_string(id));
    if (tokens.size() <= static_cast<size_t>(id)) tokens.resize(id + 1);
    if (!tokens[id].empty()) fail("two tokens have the id " + std::to_string(id));
    tokens[id] = text;
  }
  return tokens;
}

int32_t known(const Json& vocab, const std::string& token, size_t rank) {
  const auto found = vocab.find(token);
  if (found == vocab.end())
    fail("merge " + std::to_string(rank) + " names \"" + token +
         "\", which is not in the vocabulary");
  return id_from(*found, "\"" + token + "\"");
}

std::pair<int32_t, int32_t> read_merge(const Json& merge, const Json& vocab, size_t rank) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {known(vocab, merge[0].get<std::string>(), rank),
            known(vocab, merge[1].get<std::string>(), rank)};
  if (merge.is_string()) {
    const auto text = merge.get<std::string>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos)
      return {known(vocab, text.substr(0, space), rank),
              known(vocab, text.substr(space + 1), rank)};
  }
  fail("merge " + std::to_string(rank) + " is neither \"a b\" nor a pair of strings");
}

// {"type": "Strip", "content": " ", "start": 1, "stop": 0}
void check_strip(const Json& step) {
  if (string_at(step, "content") != " " || child(step, "start") != 1 || child(step, "stop") != 0)
    refuse("a decoder that strips other than one space at the start", "that");
}

// What BPE over characters decodes by; nothing where the decoder is that of bytes.
std::optional<CharacterBpe> read_characters(const Json& root) {
  const auto steps = steps_of(child(root, "decoder"), "decoder", "decoders");
  const auto is = [](const char* type) {
    return [type](const Json& step) { return child(step, "type") == type; };
  };
  if (steps.empty() || std::ranges::all_of(steps, is("ByteLevel"))) return std::nullopt;
  CharacterBpe result{.drops_first_space = false};
  bool spaces = false;
  for (const Json& step : steps) {
    const std::string type = string_at(step, "type");
    if (type == "Replace" && child(object_at(step, "pattern"), "String").is_string() &&
        string_at(step, "content") == " ") {
      result.space = string_at(object_at(step, "pattern"), "String");
      spaces = !result.space.empty();
    } else if (type == "Strip") {
      check_strip(step);
      result.drops_first_space = true;
    } else if (type != "ByteFallback" && type != "Fuse") {
      refuse("a decoder of type " + type + " of BPE",
             "ByteLevel, or a Sequence of Replace, ByteFallback, Fuse, Strip");
    }
  }
  result.byte_fallback = bool_at(object_at(root, "model"), "byte_fallback", false);
  if (!spaces || result.byte_fallback != std::ranges::any_of(steps, is("ByteFallback")))
    refuse("BPE over characters whose decoder does not undo what its model does",
           "a Replace by a space, ByteFallback where the model has \"byte_fallback\"");
  return result;
}

BpeSpec read_model(const Json& model, const std::vector<AddedToken>& added,
                   const std::optional<CharacterBpe>& characters) {
  // Files of the first versions name no type.
  const std::string type = child(model, "type").is_null() ? "BPE" : string_at(model, "type");
  if (type != "BPE") refuse("a tokenizer model of type " + type, "BPE, Unigram, WordPiece");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!child(model, key).is_null() && !string_at(model, key).empty())
      refuse(std::string("\"") + key + "\"", "an empty one");
  if (!child(model, "dropout").is_null() && child(model, "dropout") != 0)
    refuse("\"dropout\"", "null");
  const Json& vocab = object_at(model, "vocab");
  BpeSpec spec;
  spec.characters = characters;
  if (!characters && bool_at(model, "byte_fallback", false))
    refuse("\"byte_fallback\" of byte-level BPE", "false");
  spec.tokens = characters ? read_plain_vocab(vocab) : read_vocab(vocab, added);
  for (const Json& merge : array_at(model, "merges"))
    spec.merges.push_back(read_merge(merge, vocab, spec.merges.size()));
  if (!child(model, "unk_token").is_null()) {
    const auto unknown = string_at(model, "unk_token");
    const auto found = vocab.find(unknown);
    if (found == vocab.end()) fail("\"unk_token\" \"" + unknown + "\" is not in the vocabulary");
    spec.unknown = id_from(*found, "\"" + unknown + "\"");
  }
  spec.fuse_unknown = bool_at(model, "fuse_unk", false);
  spec.ignore_merges = bool_at(model, "ignore_merges", false);
  return spec;
}

// A component that the model needs: the file must have it, alone and of this type.
const Json& only_component(const Json& root, const char* key, const char* type) {
  const Json& component = object_at(root, key);
  if (string_at(component, "type") != type)
    refuse(string_at(object_at(root, "model"), "type") + " with a " + key + " of type " +
               string_at(component, "type"),
           type);
  return component;
}

WordPieceSpec read_word_piece(const Json& root) {
  const Json& model = object_at(root, "model");
  WordPieceSpec spec;
  const Json& vocab = object_at(model, "vocab");
  spec.tokens = read_plain_vocab(vocab);
  const auto unknown = string_at(model, "unk_token");
  if (!vocab.contains(unknown)) fail("\"unk_token\" is not in the vocabulary");
  spec.unknown = id_from(vocab.at(unknown), "\"" + unknown + "\"");
  spec.prefix = string_at(model, "continuing_subword_prefix");
  if (const Json& longest = child(model, "max_input_chars_per_word"); !longest.is_null())
    spec.longest_word = id_from(longest, "max_input_chars_per_word");
  const Json& normalizer = only_component(root, "normalizer", "BertNormalizer");
  spec.clean_text = bool_at(normalizer, "clean_text", true);
  spec.split_chinese = bool_at(normalizer, "handle_chinese_chars", true);
  spec.lowercase = bool_at(normalizer, "lowercase", true);
  if (!child(normalizer, "strip_accents").is_null())
    spec.strip_accents = bool_at(normalizer, "strip_accents", false);
  only_component(root, "pre_tokenizer", "BertPreTokenizer");
  const Json& decoder = only_component(root, "decoder", "WordPiece");
  if (string_at(decoder, "prefix") != spec.prefix) refuse("a decoder of another prefix", "one");
  spec.clean_up = bool_at(decoder, "cleanup", true);
  return spec;
}

// ["▁the", -3.2], .., by id.
void read_scored_vocab(const Json& vocab, UnigramSpec& spec) {
  for (const Json& entry : vocab) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      fail("token " + std::to_string(spec.tokens.size()) + " is no pair of a text and a score");
    spec.tokens.push_back(entry[0].get<std::string>());
    spec.scores.push_back(entry[1].get<double>());
  }
}

UnigramSpec read_unigram(const Json& root) {
  const Json& model = object_at(root, "model");
  UnigramSpec spec;
  read_scored_vocab(array_at(model, "vocab"), spec);
  if (child(model, "unk_id").is_null()) refuse("Unigram without an \"unk_id\"", "one");
  spec.unknown = id_from(child(model, "unk_id"), "\"unk_id\"");
  if (spec.unknown >= std::ssize(spec.tokens)) fail("\"unk_id\" is not in the vocabulary");
  spec.byte_fallback = bool_at(model, "byte_fallback", false);
  const SplitStep decoder = read_metaspace(only_component(root, "decoder", "Metaspace"));
  spec.space = decoder.space;
  spec.drops_first_space = decoder.prepend != SplitStep::Prepend::kNever;
  return spec;
}

// ---- post-processor --------------------------------------------------------------------

void read_template(const Json& processor, TokenizerSpec& spec) {
  const Json& named = object_at(processor, "special_tokens");
  bool before = true;
  for (const Json& piece : array_at(processor, "single")) {
    if (!piece.is_object()) fail("a piece of the template must be an object");
    if (piece.contains("Sequence")) {
      if (!std::exchange(before, false)) fail("the template names its text twice");
      continue;
    }
    const std::string name = string_at(object_at(piece, "SpecialToken"), "id");
    const Json& token = child(named, name);
    if (!token.is_object()) fail("the template names \"" + name + "\", which it does not define");
    for (const Json& id : array_at(token, "ids"))
      (before ? spec.prefix : spec.suffix).push_back(id_from(id, "\"" + name + "\""));
  }
  if (before) fail("the template has no place for the text");
}

// ["[SEP]", 102]
int32_t read_named_id(const Json& processor, const char* key) {
  const Json& pair = array_at(processor, key);
  if (pair.size() != 2) fail(std::string("\"") + key + "\" must be a token and its id");
  return id_from(pair[1], key);
}

// ByteLevel only moves offsets, which are not kept.
void read_post_processor(const Json& root, TokenizerSpec& spec) {
  for (const Json& step : steps_of(child(root, "post_processor"), "post-processor", "processors")) {
    const std::string type = string_at(step, "type");
    if (type == "TemplateProcessing") {
      read_template(step, spec);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      spec.prefix = {read_named_id(step, "cls")};
      spec.suffix = {read_named_id(step, "sep")};
    } else if (type != "ByteLevel") {
      refuse("a post-processor of type " + type,
             "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing");
    }
  }
}

// Whoever writes nested values again, in messages say, needs a stack as deep.
constexpr int kMaxDepth = 64;

Json parse_bounded(std::string_view text) {
  const auto check = [](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) fail("nests deeper than " + std::to_string(kMaxDepth) + " levels");
    return true;
  };
  return Json::parse(text, check);
}

TokenizerSpec read_tokenizer(std::string_view text) {
  const Json root = parse_bounded(text);
  if (!root.is_object()) fail("tokenizer.json must hold an object");
  TokenizerSpec spec;
  spec.added_tokens = read_added_tokens(root);
  const Json& model = object_at(root, "model");
  if (child(model, "type") == "WordPiece") {
    spec.word_piece = read_word_piece(root);
  } else {
    spec.normalize = read_normalizers(root);
    const bool unigram = child(model, "type") == "Unigram";
    const auto characters = unigram ? std::nullopt : read_characters(root);
    const bool pieces = unigram || characters;
    const auto end = pieces ? SplitStep::Kind::kMetaspace : SplitStep::Kind::kByteLevel;
    // What spaces are may have been settled by the normalizer: then a text is one word.
    if (!characters || !child(root, "pre_tokenizer").is_null())
      spec.split = read_pre_tokenizers(root, end);
    if (unigram) {
      spec.unigram = read_unigram(root);
    } else {
      spec.bpe = read_model(model, spec.added_tokens, characters);
    }
  }
  read_post_processor(root, spec);
  return spec;
}

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view json, const std::string& where) {
  try {
    return read_tokenizer(json);
  } catch (const Error& error) {
    throw Error(error.code(), error.what(), where, error.hint());
  } catch (const Json::exception& error) {
    throw Error(ExitCode::kData, std::string("not a valid tokenizer.json: ") + error.what(), where);
  }
}

Tokenizer load_tokenizer(const std::filesystem::path& path) {
  const auto file = std::filesystem::is_directory(path) ? path / "tokenizer.json" : path;
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf()))
    throw Error(ExitCode::kData, errno_message("cannot read the tokenizer"), file.string());
  try {
    return Tokenizer(parse_tokenizer_json(text.view(), file.string()));
  } catch (const Error& error) {
    throw Error(error.code(), error.what(), file.string(), error.hint());
  }
}

}  // namespace hydrofoil::text
