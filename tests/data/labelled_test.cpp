// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/labelled.h"

#include <gmock/gmock.h>

#include "hydrofoil/core/error.h"
#include "tests/support/scratch.h"

namespace hydrofoil::data::labelled_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// One token a byte; <s> before a text and </s> after it.
text::Tokenizer tokenizer() {
  text::TokenizerSpec spec{.split = {text::SplitStep{}}, .prefix = {0}, .suffix = {1}};
  spec.bpe.tokens = {"<s>", "</s>"};
  for (char c = 'a'; c <= 'z'; ++c) spec.bpe.tokens.push_back(std::string(1, c));
  spec.added_tokens = {{.id = 0, .content = "<s>", .special = true},
                       {.id = 1, .content = "</s>", .special = true}};
  return text::Tokenizer(spec);
}

LabelledTexts read(const std::vector<std::string>& sources, int64_t length = 9) {
  return {sources, tokenizer(), length, 2};
}

TEST(Labelled, ReadsBothFormatsAndCutsTexts) {
  const test::Scratch scratch;
  const auto texts = read({scratch.write("a.jsonl",
                                         "{\"text\":\"ab\",\"label\":1}\n\n"
                                         "{\"label\":0,\"text\":\"c\"}\n"),
                           scratch.write("b.tsv", "id\tlabel\tsentence\r\n9\t1\tabcdefghijk\r\n")});
  ASSERT_EQ(texts.size(), 3);
  EXPECT_THAT(texts.tokens(0), ElementsAre(0, 2, 3, 1));
  EXPECT_THAT(texts.tokens(1), ElementsAre(0, 4, 1));
  EXPECT_THAT(texts.tokens(2), ElementsAre(0, 2, 3, 4, 5, 6, 7, 8, 1));
  EXPECT_EQ(texts.label(0), 1);
  EXPECT_EQ(texts.label(1), 0);
  EXPECT_EQ(texts.label(2), 1);
}

TEST(Labelled, SaysWhichLineIsWrong) {
  const test::Scratch scratch;
  const std::pair<const char*, std::pair<const char*, const char*>> bad[] = {
      {"a.jsonl", {"{\"text\":\"a\",\"label\":0}\n[1]\n", ":2: expected an object"}},
      {"b.jsonl", {"{\"text\":\"a\"}", ":1: expected a number \"label\""}},
      {"c.jsonl", {"{\"text\":\"a\",\"label\":2}", ":1: the label 2 is not one of the model's 2"}},
      {"d.jsonl", {"{\"label\":1}", ":1: expected a string \"text\""}},
      {"e.tsv", {"text\tclass\na\t1\n", ":1: no column \"label\""}},
      {"f.tsv", {"text\tlabel\na\tgood\n", ":2: the label \"good\" is no number"}},
      {"g.tsv", {"text\tlabel\na\n", ":2: expected 2 columns, got 1"}},
      {"h.tsv", {"text\tlabel\n", "no labelled text"}}};
  for (const auto& [name, content] : bad) {
    try {
      read({scratch.write(name, content.first)});
      ADD_FAILURE() << name << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      EXPECT_THAT(error.line(), HasSubstr(content.second));
    }
  }
}

}  // namespace
}  // namespace hydrofoil::data::labelled_test
