// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"
#include "hydrofoil/text/tokenizer_json.h"
#include "hydrofoil/text/utf8.h"
#include "tests/text/golden.h"

namespace hydrofoil::text::tokenizer_test {
namespace {

using Ids = std::vector<int32_t>;

class GoldenTokenizer : public testing::TestWithParam<std::string> {
 protected:
  GoldenTokenizer() : tokenizer(load_tokenizer(GOLDEN_FOLDER "/" + GetParam() + ".json")) {}

  static const nlohmann::json& expected(const char* what) {
    return golden_cases()["tokenizers"][GetParam()][what];
  }
  static std::string text(size_t i) { return golden_cases()["texts"][i].get<std::string>(); }
  static size_t texts() { return golden_cases()["texts"].size(); }

  Tokenizer tokenizer;
};

TEST_P(GoldenTokenizer, EncodesAsTheTokenizersPackage) {
  ASSERT_GT(texts(), 300u);
  for (size_t i = 0; i < texts(); ++i)
    EXPECT_EQ(tokenizer.encode(text(i)), expected("ids")[i].get<Ids>())
        << testing::PrintToString(text(i));
}

TEST_P(GoldenTokenizer, PutsTheTemplateAroundTexts) {
  for (size_t i = 0; i < expected("template_ids").size(); ++i)
    EXPECT_EQ(tokenizer.encode(text(i), {.add_template = true}),
              expected("template_ids")[i].get<Ids>());
}

TEST_P(GoldenTokenizer, DecodesAnyIdsAsTheTokenizersPackage) {
  for (const auto& slice : expected("decode")) {
    const auto ids = slice["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.decode(ids), slice["text"].get<std::string>());
    EXPECT_EQ(tokenizer.decode(ids, true), slice["plain"].get<std::string>());
  }
}

TEST_P(GoldenTokenizer, DetokenizerEmitsCompleteTextThatAddsUpToDecode) {
  const Philox random(1, RandomUse::kTest);
  Detokenizer stream(tokenizer);
  for (uint64_t round = 0; round < 200; ++round) {
    Ids ids;
    for (uint64_t i = 0; i < 17; ++i)
      ids.push_back(static_cast<int32_t>(random.below(tokenizer.vocab_size(), round * 17 + i)));
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = stream.push(id);
      ASSERT_FALSE(find_invalid_utf8(piece));
      text += piece;
    }
    text += stream.finish();
    ASSERT_EQ(text, tokenizer.decode(ids));
  }
}

TEST_P(GoldenTokenizer, PortionsOfAStreamAreTheWholeEncoding) {
  std::string long_text;
  for (int i = 0; i < 5; ++i) long_text += golden_text("corpus.txt");
  Ids streamed;
  size_t portions = 0;
  tokenizer.encode_stream(long_text, {}, [&](std::span<const int32_t> ids) {
    streamed.insert(streamed.end(), ids.begin(), ids.end());
    ++portions;
  });
  // Over characters all of a text is one word.
  EXPECT_EQ(portions > 1, !tokenizer.spec().bpe.characters);
  EXPECT_EQ(streamed, tokenizer.encode(long_text));
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTokenizer, testing::ValuesIn(kGoldenTokenizers),
                         [](const auto& instance) { return instance.param; });

Tokenizer gpt2() {
  return load_tokenizer(GOLDEN_FOLDER "/gpt2.json");
}

TEST(Tokenizer, RoundTripsAnyText) {
  const auto tokenizer = gpt2();
  for (const auto& text : golden_cases()["texts"])
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text.get<std::string>())), text);
}

TEST(Tokenizer, UntrustedTextHasNoSpecialTokens) {
  const auto tokenizer = gpt2();
  const std::string text = "ignore <|endoftext|> this";
  EXPECT_THAT(tokenizer.encode(text), testing::Contains(0));
  const auto ids = tokenizer.encode(text, {.parse_special = false});
  EXPECT_THAT(ids, testing::Not(testing::Contains(0)));
  EXPECT_EQ(tokenizer.decode(ids, true), text);
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  try {
    gpt2().encode("ab\xFF");
    FAIL() << "encoded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_THAT(error.what(), testing::HasSubstr("byte 2 (0xFF)"));
  }
}

TEST(Tokenizer, UnknownIdsDecodeToNothing) {
  const auto tokenizer = gpt2();
  EXPECT_EQ(tokenizer.decode(Ids{-1, 1 << 30, 700}), "");
  Detokenizer stream(tokenizer);
  EXPECT_EQ(stream.push(-7) + stream.finish(), "");
}

TEST(Tokenizer, DetokenizerWaitsForTheRestOfACharacter) {
  const auto tokenizer = gpt2();
  Detokenizer stream(tokenizer);
  std::vector<std::string> pieces;
  for (const char byte : std::string("🙂"))
    pieces.push_back(stream.push(*tokenizer.id_of(std::string(1, byte))));
  EXPECT_THAT(pieces, testing::ElementsAre("", "", "", "🙂"));
  EXPECT_EQ(stream.push(*tokenizer.id_of("\xF0")), "");
  EXPECT_EQ(stream.push(*tokenizer.id_of("A")), "\uFFFDA");
  EXPECT_EQ(stream.push(*tokenizer.id_of("\xE4")), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Tokenizer, ThreadsShareOneTokenizer) {
  const auto tokenizer = gpt2();
  const std::string text = golden_text("corpus.txt");
  const auto expected = tokenizer.encode(text);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results)
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i) result = tokenizer.encode(text);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(results, testing::Each(expected));
}

TEST(Tokenizer, RefusesSpecificationsThatContradictThemselves) {
  const TokenizerSpec good{.bpe = {.tokens = {"a"}}, .split = {SplitStep{}}};
  EXPECT_NO_THROW(Tokenizer{good});
  TokenizerSpec bad = good;
  bad.prefix = {1};
  EXPECT_THROW(Tokenizer{bad}, Error);
  bad = good;
  bad.added_tokens = {{.id = 1, .content = "x"}, {.id = 1, .content = "y"}};
  EXPECT_THROW(Tokenizer{bad}, Error);
  bad.added_tokens = {{.id = 1, .content = "\xFF"}};
  EXPECT_THROW(Tokenizer{bad}, Error);
  bad.added_tokens = {{.id = -1, .content = "x"}};
  EXPECT_THROW(Tokenizer{bad}, Error);
}

}  // namespace
}  // namespace hydrofoil::text::tokenizer_test
