// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"
#include "tests/text/golden.h"

namespace hydrofoil::text::tokenizer_json_test {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

Json minimal() {
  return Json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

TokenizerSpec parse(const Json& json) {
  return parse_tokenizer_json(json.dump(), "t.json");
}

// The message and the hint of the refusal.
std::string refusal(const Json& json) {
  try {
    const Tokenizer tokenizer(parse(json));
    return "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    return std::string(error.what()) + " (" + error.hint() + ")";
  }
}

Json with(const char* pointer, const Json& value) {
  Json json = minimal();
  json[Json::json_pointer(pointer)] = value;
  return json;
}

TEST(TokenizerJson, ReadsMergesAsStringsOrPairs) {
  EXPECT_EQ(parse(minimal()).bpe.merges, (std::vector<std::pair<int32_t, int32_t>>{{0, 1}}));
  EXPECT_EQ(parse(with("/model/merges", Json::parse(R"([["a","b"]])"))), parse(minimal()));
}

TEST(TokenizerJson, SavedSpecificationsReadBackEqual) {
  for (const auto& name : kGoldenTokenizers) {
    const auto spec = parse_tokenizer_json(golden_text(name + ".json"), name);
    const std::string saved = to_tokenizer_json(spec);
    EXPECT_EQ(parse_tokenizer_json(saved, name), spec) << name;
    EXPECT_EQ(to_tokenizer_json(parse_tokenizer_json(saved, name)), saved) << name;
  }
}

TEST(TokenizerJson, FingerprintTellsSpecificationsApart) {
  const auto spec = parse(minimal());
  auto other = spec;
  other.added_tokens[0].lstrip = true;
  EXPECT_EQ(fingerprint(spec), fingerprint(parse(minimal())));
  EXPECT_EQ(fingerprint(spec).size(), 32u);
  EXPECT_NE(fingerprint(spec), fingerprint(other));
}

TEST(TokenizerJson, SavesAndLoadsFilesAndFolders) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("hydrofoil_text_test_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  save_tokenizer(parse(minimal()), folder / "tokenizer.json");
  EXPECT_EQ(load_tokenizer(folder).spec(), parse(minimal()));
  EXPECT_EQ(load_tokenizer(folder / "tokenizer.json").encode("ab<s>"),
            (std::vector<int32_t>{2, 3}));
  EXPECT_FALSE(std::filesystem::exists(folder / "tokenizer.json.partial"));
  EXPECT_THROW(load_tokenizer(folder / "absent.json"), Error);
  EXPECT_THROW(save_tokenizer(parse(minimal()), folder / "absent" / "t.json"), Error);
  std::filesystem::remove_all(folder);
}

TEST(TokenizerJson, RefusesWordPieceWithOtherParts) {
  const auto bert = [](const char* pointer, const Json& value) {
    Json json = Json::parse(golden_text("bert.json"));
    json[Json::json_pointer(pointer)] = value;
    return refusal(json);
  };
  EXPECT_THAT(bert("/normalizer/type", "Lowercase"), HasSubstr("BertNormalizer"));
  EXPECT_THAT(bert("/pre_tokenizer/type", "Whitespace"), HasSubstr("BertPreTokenizer"));
  EXPECT_THAT(bert("/decoder/prefix", "@@"), HasSubstr("prefix"));
  EXPECT_THAT(bert("/model/unk_token", "nowhere"), HasSubstr("not in the vocabulary"));
  EXPECT_THAT(bert("/model/vocab/other", 7), HasSubstr("two tokens have the id 7"));
}

TEST(TokenizerJson, RefusesUnigramWithOtherParts) {
  const auto t5 = [](const char* pointer, const Json& value) {
    Json json = Json::parse(golden_text("t5.json"));
    json[Json::json_pointer(pointer)] = value;
    return refusal(json);
  };
  EXPECT_THAT(t5("/pre_tokenizer", Json{{"type", "ByteLevel"}}), HasSubstr("Metaspace"));
  EXPECT_THAT(t5("/pre_tokenizer", nullptr), HasSubstr("Metaspace"));
  EXPECT_THAT(t5("/pre_tokenizer/pretokenizers/1/prepend_scheme", "x"),
              HasSubstr("prepend_scheme"));
  EXPECT_THAT(t5("/decoder/type", "Fuse"), HasSubstr("Unigram with a decoder of type Fuse"));
  EXPECT_THAT(t5("/model/unk_id", nullptr), HasSubstr("\"unk_id\""));
  EXPECT_THAT(t5("/model/unk_id", 100000), HasSubstr("not in the vocabulary"));
  EXPECT_THAT(t5("/model/vocab/3", "x"), HasSubstr("token 3 is no pair"));
  EXPECT_THAT(t5("/normalizer/type", "BertNormalizer"), HasSubstr("BertNormalizer"));
}

TEST(TokenizerJson, RefusesBpeOverCharactersWithOtherParts) {
  const auto llama2 = [](const char* pointer, const Json& value) {
    Json json = Json::parse(golden_text("llama2.json"));
    json[Json::json_pointer(pointer)] = value;
    return refusal(json);
  };
  EXPECT_THAT(llama2("/decoder/decoders/1", Json{{"type", "WordPiece"}}), HasSubstr("WordPiece"));
  EXPECT_THAT(llama2("/decoder/decoders/3/start", 2), HasSubstr("other than one space"));
  EXPECT_THAT(llama2("/decoder/decoders/0", Json{{"type", "Fuse"}}), HasSubstr("does not undo"));
  EXPECT_THAT(llama2("/model/byte_fallback", false), HasSubstr("does not undo"));
  EXPECT_THAT(llama2("/pre_tokenizer", Json{{"type", "ByteLevel"}}), HasSubstr("Metaspace"));
  EXPECT_THAT(llama2("/model/merges/0", "\u2581 nowhere"), HasSubstr("\"nowhere\""));
}

TEST(TokenizerJson, RefusesByNameWhatIsNotSupported) {
  EXPECT_THAT(refusal(with("/model/type", "WordLevel")),
              testing::AllOf(HasSubstr("WordLevel"), HasSubstr("supported: BPE")));
  const auto typed = [](const char* type) { return Json{{"type", type}}; };
  EXPECT_THAT(refusal(with("/normalizer", typed("Nmt"))), HasSubstr("Nmt"));
  EXPECT_THAT(refusal(with("/pre_tokenizer", Json{{"type", "Metaspace"}, {"replacement", "_"}})),
              HasSubstr("Metaspace"));
  EXPECT_THAT(refusal(with("/pre_tokenizer", nullptr)), HasSubstr("ByteLevel"));
  EXPECT_THAT(refusal(with("/pre_tokenizer", typed("Digits"))), HasSubstr("ByteLevel"));
  EXPECT_THAT(refusal(with("/decoder", typed("WordPiece"))), HasSubstr("WordPiece"));
  EXPECT_THAT(refusal(with("/post_processor", typed("Other"))), HasSubstr("Other"));
  EXPECT_THAT(refusal(with("/post_processor", typed("BertProcessing"))), HasSubstr("\"cls\""));
  EXPECT_THAT(refusal(with("/model/byte_fallback", true)), HasSubstr("byte_fallback"));
  EXPECT_THAT(refusal(with("/model/dropout", 0.1)), HasSubstr("dropout"));
  EXPECT_THAT(refusal(with("/model/end_of_word_suffix", "</w>")), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(refusal(with("/added_tokens/0/single_word", true)), HasSubstr("single_word"));
  EXPECT_THAT(refusal(with("/pre_tokenizer",
                           Json::parse(R"({"type":"Sequence","pretokenizers":[{"type":"Split",
                             "pattern":{"String":"x"},"behavior":"MergedWithNext"}]})"))),
              HasSubstr("MergedWithNext"));
}

TEST(TokenizerJson, RefusesFilesThatContradictThemselves) {
  EXPECT_THAT(refusal(with("/model/merges", Json::parse(R"(["a c"])"))), HasSubstr("\"c\""));
  EXPECT_THAT(refusal(with("/model/merges", Json::parse(R"(["b a"])"))), HasSubstr("\"ba\""));
  EXPECT_THAT(refusal(with("/model/merges", Json::parse(R"(["a b b"])"))), HasSubstr("neither"));
  EXPECT_THAT(refusal(with("/model/merges", Json::parse(R"([["a"]])"))), HasSubstr("neither"));
  EXPECT_THAT(refusal(with("/model/merges", 5)), HasSubstr("must be a list"));
  EXPECT_THAT(refusal(with("/model/vocab/b", 0)), HasSubstr("two tokens have the id 0"));
  EXPECT_THAT(refusal(with("/model/vocab/b", -1)), HasSubstr("whole number"));
  EXPECT_THAT(refusal(with("/model/vocab/b", 1.5)), HasSubstr("whole number"));
  EXPECT_THAT(refusal(with("/model/vocab/b", 16777215)), HasSubstr("in a vocabulary of 3"));
  EXPECT_THAT(refusal(with("/model/vocab", Json::parse(R"({"中": 0})"))), HasSubstr("alphabet"));
  EXPECT_THAT(refusal(with("/model/unk_token", "?")), HasSubstr("unk_token"));
  EXPECT_THAT(refusal(with("/model", "x")), HasSubstr("\"model\" must be an object"));
  EXPECT_THAT(refusal(with("/post_processor",
                           Json::parse(R"({"type":"TemplateProcessing","special_tokens":{},
                             "single":[{"SpecialToken":{"id":"<s>"}}]})"))),
              HasSubstr("does not define"));
  EXPECT_THAT(refusal(Json::array()), HasSubstr("must hold an object"));
  EXPECT_THROW(parse_tokenizer_json("", "t.json"), Error);
  EXPECT_THROW(parse_tokenizer_json("{\"a\": \"\xFF\"}", "t.json"), Error);
}

// A file of brackets must not end in a stack overflow.
TEST(TokenizerJson, DeepNestingIsRefused) {
  std::string json = R"({"model":{"vocab":{},"merges":[]},"normalizer":)";
  for (int i = 0; i < 200000; ++i) json += R"({"type":"Sequence","normalizers":[)";
  EXPECT_THROW(parse_tokenizer_json(json, "t.json"), Error);
  for (int i = 0; i < 200000; ++i) json += "]}";
  EXPECT_THROW(parse_tokenizer_json(json + "}", "t.json"), Error);
}

// Any change of a valid file either still makes a tokenizer that works, or ends in Error(kData).
void try_file(const std::string& json) {
  try {
    const Tokenizer tokenizer(parse_tokenizer_json(json, "fuzz"));
    const auto ids = tokenizer.encode("Hello, wörld 123 <|endoftext|>\n", {.add_template = true});
    tokenizer.decode(ids);
    parse_tokenizer_json(to_tokenizer_json(tokenizer.spec()), "again");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData) << error.what();
  }
}

TEST(TokenizerJson, SurvivesMutatedBytes) {
  // A vocabulary cut short lets the rounds run fast.
  Json small = Json::parse(golden_text("llama3.json"));
  small["model"]["merges"].erase(small["model"]["merges"].begin() + 20,
                                 small["model"]["merges"].end());
  const std::string good = small.dump();
  const Philox random(11, RandomUse::kTest);
  for (uint64_t round = 0; round < 1500; ++round) {
    std::string json = good;
    for (uint64_t i = 0, n = 1 + random.below(4, round * 64); i < n; ++i) {
      const uint64_t at = round * 64 + 4 * i;
      // Half of the changes fall on the part that is not the vocabulary.
      const uint64_t reach = random.below(2, at + 1) ? json.size() : 1900;
      const size_t place = random.below(reach, at + 2);
      const auto kind = random.below(4, at + 3);
      if (kind == 0) json[place] = static_cast<char>(random.below(256, at + 4));
      if (kind == 1) json.erase(place, 1 + random.below(9, at + 4));
      if (kind == 2) json.insert(place, 1, "\"{}[]:,09-.e\\u"[random.below(14, at + 4)]);
      if (kind == 3) json.insert(place, json.substr(random.below(json.size(), at + 4), 30));
    }
    try_file(json);
  }
}

// Changes that keep the JSON valid reach deeper: every value in turn becomes each of these.
void mutate_values(const Json& base) {
  const Json replacements = Json::parse(
      R"([null, true, -1, 0, 1.5, 4294967296, 1e300, "", "\u0000", "ByteLevel", "Sequence", [], {},
          [null], {"type": "Sequence"}, {"Regex": "("}, "(a*)*"])");
  const Json flat = base.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (pointer.starts_with("/model/vocab/") && value.is_number_integer() && value.get<int>() % 17)
      continue;
    for (Json::json_pointer at(pointer); !at.empty(); at.pop_back())
      for (const auto& replacement : replacements) {
        Json changed = base;
        changed[at] = replacement;
        try_file(changed.dump());
      }
  }
}

TEST(TokenizerJson, SurvivesMutatedValues) {
  Json bpe = Json::parse(golden_text("llama3.json"));
  auto& model = bpe["model"];
  model["merges"].erase(model["merges"].begin() + 3, model["merges"].end());
  for (auto it = model["vocab"].begin(); it != model["vocab"].end();)
    it =
        it.value().get<int>() % 9 && it.key().size() > 2 ? model["vocab"].erase(it) : std::next(it);
  mutate_values(bpe);
  for (const char* name : {"xlmr.json", "albert.json"}) {
    Json unigram = Json::parse(golden_text(name));
    auto& vocab = unigram["model"]["vocab"];
    vocab.erase(vocab.begin() + 5, vocab.end());
    mutate_values(unigram);
  }
}

}  // namespace
}  // namespace hydrofoil::text::tokenizer_json_test
