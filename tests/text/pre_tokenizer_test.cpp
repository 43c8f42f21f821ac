// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/tokenizer_json.h"
#include "tests/text/golden.h"

namespace hydrofoil::text::pre_tokenizer_test {
namespace {

using testing::ElementsAre;
using Kind = SplitStep::Kind;

std::vector<std::string> split(const std::vector<SplitStep>& steps, std::string_view text) {
  const PreTokenizer pre_tokenizer(steps);
  auto scratch = pre_tokenizer.new_scratch();
  scratch.start = text.data();
  std::vector<std::string> words;
  pre_tokenizer.split(text, scratch, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

TEST(PreTokenizer, CutsAsTheTokenizersPackage) {
  for (const auto& name : kGoldenTokenizers) {
    const auto spec = parse_tokenizer_json(golden_text(name + ".json"), name);
    if (spec.word_piece) continue;  // cuts words of its own
    const auto& expected = golden_cases()["tokenizers"][name]["word_bytes"];
    ASSERT_EQ(expected.size(), golden_cases()["texts"].size());
    for (size_t i = 0; i < expected.size(); ++i) {
      if (expected[i].is_null()) continue;
      std::vector<size_t> lengths;
      const auto text = golden_cases()["texts"][i].get<std::string>();
      for (const auto& word : split(spec.split, text)) lengths.push_back(word.size());
      EXPECT_EQ(lengths, expected[i].get<std::vector<size_t>>())
          << name << ": " << testing::PrintToString(text);
    }
  }
}

TEST(PreTokenizer, Gpt2PatternKeepsTheSpaceWithTheNextWord) {
  EXPECT_THAT(split({SplitStep{}}, "I'll pay  12 €!\n\n ok"),
              ElementsAre("I", "'ll", " pay", " ", " 12", " €!", "\n\n", " ok"));
}

TEST(PreTokenizer, DigitsOneByOneOrInRuns) {
  SplitStep digits{.kind = Kind::kDigits, .individual_digits = true};
  const SplitStep last{.kind = Kind::kByteLevel, .use_regex = false};
  EXPECT_THAT(split({digits, last}, "ab12½c"), ElementsAre("ab", "1", "2", "½", "c"));
  digits.individual_digits = false;
  EXPECT_THAT(split({digits, last}, "ab12½c"), ElementsAre("ab", "12½", "c"));
}

TEST(PreTokenizer, SplitIsolatesRemovesAndInverts) {
  SplitStep step{.kind = Kind::kSplit, .pattern = "-+"};
  EXPECT_THAT(split({step}, "-a--b"), ElementsAre("-", "a", "--", "b"));
  step.removed = true;
  EXPECT_THAT(split({step}, "-a--b"), ElementsAre("a", "b"));
  step.invert = true;
  EXPECT_THAT(split({step}, "-a--b"), ElementsAre("-", "--"));
}

TEST(PreTokenizer, LiteralPatternsAreNotExpressions) {
  EXPECT_THAT(split({{.kind = Kind::kSplit, .pattern = "a.", .literal = true}}, "aba.b"),
              ElementsAre("ab", "a.", "b"));
}

TEST(PreTokenizer, EmptyMatchesCutButDoNotLoop) {
  EXPECT_THAT(split({{.kind = Kind::kSplit, .pattern = "x*"}}, "éxx中"),
              ElementsAre("é", "xx", "中"));
  EXPECT_THAT(split({{.kind = Kind::kSplit, .pattern = "(?=B)"}}, "aBcB"),
              ElementsAre("a", "Bc", "B"));
}

TEST(PreTokenizer, PrefixSpaceIsAddedOnceToAPieceWithoutOne) {
  const SplitStep prefixed{.kind = Kind::kByteLevel, .add_prefix_space = true};
  EXPECT_THAT(split({prefixed}, "a b"), ElementsAre(" a", " b"));
  EXPECT_THAT(split({prefixed}, " a b"), ElementsAre(" a", " b"));
  EXPECT_THAT(split({{.kind = Kind::kSplit, .pattern = "-"}, prefixed}, "a-b"),
              ElementsAre(" a", " -", " b"));
}

TEST(PreTokenizer, EmptyTextHasNoWords) {
  EXPECT_TRUE(split({SplitStep{}}, "").empty());
}

TEST(PreTokenizer, BadPatternsAreRefusedWithTheirPlace) {
  try {
    PreTokenizer({{.kind = Kind::kSplit, .pattern = "a(b"}});
    FAIL() << "compiled";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_THAT(error.what(), testing::HasSubstr("at byte 3 of \"a(b\""));
  }
  EXPECT_THROW(PreTokenizer({{.kind = Kind::kSplit, .pattern = "\\C"}}), Error);
}

TEST(PreTokenizer, ExplosivePatternsEndInAnError) {
  const std::vector<SplitStep> steps = {{.kind = Kind::kSplit, .pattern = "(a+)+$"}};
  EXPECT_THROW(split(steps, std::string(60, 'a') + "b"), Error);
}

TEST(PreTokenizer, LongRunsTakeLinearTime) {
  const SplitStep llama{
      .kind = Kind::kSplit,
      .pattern =
          R"((?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
  for (const std::string unit : {" ", "a", "\n", "!", "中", " \n", "1"}) {
    std::string text;
    while (text.size() < 3000000) text += unit;
    size_t bytes = 0;
    const PreTokenizer pre_tokenizer({llama, {.kind = Kind::kByteLevel}});
    auto scratch = pre_tokenizer.new_scratch();
    pre_tokenizer.split(text + "x", scratch, [&](std::string_view word) { bytes += word.size(); });
    EXPECT_EQ(bytes, text.size() + 1) << unit;
  }
}

}  // namespace
}  // namespace hydrofoil::text::pre_tokenizer_test
