// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/json_steps.h"
#include "hydrofoil/text/tokenizer_json.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace hydrofoil::text {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson added_token_json(const AddedToken& token) {
  return {{"id", token.id},          {"content", token.content}, {"single_word", false},
          {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
          {"special", token.special}};
}

// The name that a table of json_steps.h has for a kind.
template <class Table, class Kind>
std::string name_in(const Table& table, Kind kind) {
  for (const auto& [known, name] : table)
    if (known == kind) return name;
  return {};
}

OrderedJson pattern_json(const std::string& pattern, bool literal) {
  return {{literal ? "String" : "Regex", pattern}};
}

OrderedJson metaspace_json(const std::string& space, SplitStep::Prepend prepend, bool cut) {
  return {{"type", "Metaspace"},
          {"replacement", space},
          {"prepend_scheme", name_in(json::kPrependSchemes, prepend)},
          {"split", cut}};
}

OrderedJson normalize_step_json(const NormalizeStep& step) {
  using Kind = NormalizeStep::Kind;
  OrderedJson object{{"type", name_in(json::kNormalizerTypes, step.kind)}};
  if (step.kind == Kind::kReplace) {
    object["pattern"] = pattern_json(step.pattern, step.literal);
    object["content"] = step.content;
  } else if (step.kind == Kind::kPrepend) {
    object["prepend"] = step.content;
  } else if (step.kind == Kind::kCharsmap) {
    object["precompiled_charsmap"] = step.content;
  } else if (step.kind == Kind::kStrip) {
    object["strip_left"] = step.left;
    object["strip_right"] = step.right;
  }
  return object;
}

// Null for none, the only one, or a Sequence.
OrderedJson sequence_json(const char* list_key, const std::vector<OrderedJson>& steps) {
  if (steps.empty()) return {};
  if (steps.size() == 1) return steps.front();
  return {{"type", "Sequence"}, {list_key, steps}};
}

OrderedJson split_json(const SplitStep& step) {
  switch (step.kind) {
    case SplitStep::Kind::kSplit:
      return {{"type", "Split"},
              {"pattern", pattern_json(step.pattern, step.literal)},
              {"behavior", step.removed ? "Removed" : "Isolated"},
              {"invert", step.invert}};
    case SplitStep::Kind::kDigits:
      return {{"type", "Digits"}, {"individual_digits", step.individual_digits}};
    case SplitStep::Kind::kWhitespace:
      return {{"type", "WhitespaceSplit"}};
    case SplitStep::Kind::kMetaspace:
      return metaspace_json(step.space, step.prepend, step.cut);
    case SplitStep::Kind::kByteLevel:
      return {{"type", "ByteLevel"},
              {"add_prefix_space", step.add_prefix_space},
              {"trim_offsets", true},
              {"use_regex", step.use_regex}};
  }
  return {};
}

OrderedJson pre_tokenizer_json(const TokenizerSpec& spec) {
  if (spec.word_piece) return {{"type", "BertPreTokenizer"}};
  std::vector<OrderedJson> steps;
  for (const auto& step : spec.split) steps.push_back(split_json(step));
  return sequence_json("pretokenizers", steps);
}

// Names by id, as tokenizer.json writes them.
std::vector<std::string> names_of(const TokenizerSpec& spec) {
  if (spec.word_piece || spec.unigram || spec.bpe.characters) return tokens_of(spec);
  std::vector<std::string> names(spec.bpe.tokens.size());
  for (size_t id = 0; id < names.size(); ++id) names[id] = to_byte_level(spec.bpe.tokens[id]);
  for (const auto& token : spec.added_tokens)
    if (token.id < static_cast<int64_t>(names.size()) && !names[token.id].empty())
      names[token.id] = token.content;
  return names;
}

// {"type": "TemplateProcessing", ...}: prefix, text, suffix; a pair is two texts in a row.
OrderedJson template_json(const TokenizerSpec& spec) {
  const auto names = names_of(spec);
  const auto name_of = [&](int32_t id) {
    for (const auto& token : spec.added_tokens)
      if (token.id == id) return token.content;
    return names.at(id);
  };
  OrderedJson tokens = OrderedJson::object();
  const auto text_in_template = [&](const char* text, int type) {
    OrderedJson pieces = OrderedJson::array();
    const auto add = [&](const std::vector<int32_t>& ids) {
      for (const int32_t id : ids) {
        const std::string name = name_of(id);
        pieces.push_back({{"SpecialToken", {{"id", name}, {"type_id", type}}}});
        tokens[name] = {{"id", name},
                        {"ids", OrderedJson::array({id})},
                        {"tokens", OrderedJson::array({name})}};
      }
    };
    add(spec.prefix);
    pieces.push_back({{"Sequence", {{"id", text}, {"type_id", type}}}});
    add(spec.suffix);
    return pieces;
  };
  OrderedJson single = text_in_template("A", 0), pair = single;
  for (auto& piece : text_in_template("B", 1)) pair.push_back(piece);
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", tokens}};
}

// The vocabulary is appended by hand: an ordered object looks its keys up one by one.
std::string vocab_text(const std::vector<std::string>& names) {
  std::string text = "{";
  for (size_t id = 0; id < names.size(); ++id) {
    if (names[id].empty()) continue;
    if (text.size() > 1) text += ",";
    text += "\n      " + OrderedJson(names[id]).dump() + ": " + std::to_string(id);
  }
  return text + "\n    }";
}

std::string merges_text(const BpeSpec& bpe, const std::vector<std::string>& names) {
  std::string text = "[";
  for (const auto& [left, right] : bpe.merges) {
    if (text.size() > 1) text += ",";
    text += "\n      " + OrderedJson(names.at(left) + " " + names.at(right)).dump();
  }
  return text + "\n    ]";
}

std::string word_piece_text(const WordPieceSpec& spec) {
  return "{\n    \"type\": \"WordPiece\",\n    \"unk_token\": " +
         OrderedJson(spec.tokens.at(static_cast<size_t>(spec.unknown))).dump() +
         ",\n    \"continuing_subword_prefix\": " + OrderedJson(spec.prefix).dump() +
         ",\n    \"max_input_chars_per_word\": " + std::to_string(spec.longest_word) +
         ",\n    \"vocab\": " + vocab_text(spec.tokens) + "\n  }";
}

std::string unigram_text(const UnigramSpec& spec) {
  std::string vocab = "[";
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    vocab += (id > 0 ? ",\n      " : "\n      ") +
             OrderedJson::array({spec.tokens[id], spec.scores[id]}).dump();
  return "{\n    \"type\": \"Unigram\",\n    \"unk_id\": " + std::to_string(spec.unknown) +
         ",\n    \"byte_fallback\": " + OrderedJson(spec.byte_fallback).dump() +
         ",\n    \"vocab\": " + vocab + "\n    ]\n  }";
}

OrderedJson normalizer_json(const TokenizerSpec& spec) {
  std::vector<OrderedJson> steps;
  for (const auto& step : spec.normalize) steps.push_back(normalize_step_json(step));
  if (!spec.word_piece) return sequence_json("normalizers", steps);
  const auto& bert = *spec.word_piece;
  return {{"type", "BertNormalizer"},
          {"clean_text", bert.clean_text},
          {"handle_chinese_chars", bert.split_chinese},
          {"strip_accents", bert.strip_accents ? OrderedJson(*bert.strip_accents) : OrderedJson()},
          {"lowercase", bert.lowercase}};
}

OrderedJson characters_decoder_json(const CharacterBpe& characters) {
  std::vector<OrderedJson> steps{{{"type", "Replace"},
                                  {"pattern", pattern_json(characters.space, /*literal=*/true)},
                                  {"content", " "}}};
  if (characters.byte_fallback) steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (characters.drops_first_space)
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return sequence_json("decoders", steps);
}

OrderedJson decoder_json(const TokenizerSpec& spec) {
  using Prepend = SplitStep::Prepend;
  if (const auto& unigram = spec.unigram)
    return metaspace_json(unigram->space,
                          unigram->drops_first_space ? Prepend::kAlways : Prepend::kNever, true);
  if (spec.bpe.characters) return characters_decoder_json(*spec.bpe.characters);
  if (!spec.word_piece) return split_json({});
  return {{"type", "WordPiece"},
          {"prefix", spec.word_piece->prefix},
          {"cleanup", spec.word_piece->clean_up}};
}

std::string model_text(const TokenizerSpec& spec) {
  if (spec.word_piece) return word_piece_text(*spec.word_piece);
  if (spec.unigram) return unigram_text(*spec.unigram);
  const auto names = names_of(spec);
  const OrderedJson unknown =
      spec.bpe.unknown ? OrderedJson(names.at(*spec.bpe.unknown)) : OrderedJson();
  return "{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": " + unknown.dump() +
         ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null"
         ",\n    \"fuse_unk\": " +
         OrderedJson(spec.bpe.fuse_unknown).dump() + ",\n    \"byte_fallback\": " +
         OrderedJson(spec.bpe.characters && spec.bpe.characters->byte_fallback).dump() +
         ",\n    \"ignore_merges\": " + OrderedJson(spec.bpe.ignore_merges).dump() +
         ",\n    \"vocab\": " + vocab_text(names) +
         ",\n    \"merges\": " + merges_text(spec.bpe, names) + "\n  }";
}

}  // namespace

std::string to_tokenizer_json(const TokenizerSpec& spec) {
  OrderedJson added = OrderedJson::array();
  for (const auto& token : spec.added_tokens) added.push_back(added_token_json(token));
  const bool pieces = spec.word_piece || spec.unigram || spec.bpe.characters;
  const OrderedJson no_template = pieces ? OrderedJson() : split_json({});
  const bool has_template = !spec.prefix.empty() || !spec.suffix.empty();
  std::string text = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null";
  const auto add = [&](const char* key, const std::string& value) {
    text += std::string(",\n  \"") + key + "\": " + value;
  };
  add("added_tokens", added.dump());
  add("normalizer", normalizer_json(spec).dump());
  add("pre_tokenizer", pre_tokenizer_json(spec).dump());
  add("post_processor", (has_template ? template_json(spec) : no_template).dump());
  add("decoder", decoder_json(spec).dump());
  add("model", model_text(spec));
  return text + "\n}\n";
}

void save_tokenizer(const TokenizerSpec& spec, const std::filesystem::path& path) {
  auto aside = path;
  aside += ".partial";
  std::ofstream out(aside, std::ios::binary | std::ios::trunc);
  out << to_tokenizer_json(spec) << std::flush;
  out.close();
  std::error_code failed;
  if (out) std::filesystem::rename(aside, path, failed);
  if (!out || failed)
    throw Error(ExitCode::kError, errno_message("cannot write the tokenizer"), path.string());
}

std::string fingerprint(const TokenizerSpec& spec) {
  const std::string json = to_tokenizer_json(spec);
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(json.data(), json.size()));
  static constexpr char kHex[] = "0123456789abcdef";
  std::string digits;
  for (const unsigned char byte : canonical.digest)
    digits.append({kHex[byte >> 4], kHex[byte & 15]});
  return digits;
}

}  // namespace hydrofoil::text
