// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"
#include "hydrofoil/text/tokenizer_json.h"
#include "tests/text/golden.h"

namespace hydrofoil::text::bpe_trainer_test {
namespace {

TokenizerSpec train(const std::vector<std::string>& texts, BpeTrainerOptions options) {
  BpeTrainer trainer(std::move(options));
  for (const auto& text : texts) trainer.feed(text);
  return trainer.train();
}

// golden/gpt2.json was trained by the `tokenizers` package on this corpus.
TEST(BpeTrainer, MakesTheMergesOfTheTokenizersPackage) {
  const auto golden = parse_tokenizer_json(golden_text("gpt2.json"), "gpt2.json");
  const auto spec = train({golden_text("corpus.txt")}, {.vocab_size = 700});
  EXPECT_EQ(spec.bpe.tokens, golden.bpe.tokens);
  EXPECT_EQ(spec.bpe.merges, golden.bpe.merges);
  EXPECT_EQ(to_tokenizer_json(spec), to_tokenizer_json(golden));
}

TEST(BpeTrainer, OtherWordsAndSpecialTokensAgreeToo) {
  const auto golden = parse_tokenizer_json(golden_text("smollm.json"), "smollm.json");
  const auto spec = train({golden_text("corpus.txt")},
                          {.vocab_size = 600,
                           .special_tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"},
                           .split = golden.split});
  EXPECT_EQ(spec, golden);
}

// The definition: count all pairs anew before each merge.
std::vector<std::pair<int32_t, int32_t>> train_slowly(const std::vector<std::vector<int32_t>>& from,
                                                      int32_t next_id, int merges) {
  auto words = from;
  std::vector<std::pair<int32_t, int32_t>> result;
  for (; merges > 0; --merges, ++next_id) {
    std::map<std::pair<int32_t, int32_t>, int64_t> counts;
    for (const auto& word : words)
      for (size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    std::pair<int32_t, int32_t> best;
    int64_t most = 1;
    for (const auto& [pair, count] : counts)
      if (count > most) most = count, best = pair;
    if (most < 2) return result;
    result.push_back(best);
    for (auto& word : words)
      for (size_t i = 0; i + 1 < word.size(); ++i)
        if (std::pair(word[i], word[i + 1]) == best) {
          word[i] = next_id;
          word.erase(word.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        }
  }
  return result;
}

TEST(BpeTrainer, EqualsTheDefinitionOnRepetitiveWords) {
  const Philox random(9, RandomUse::kTest);
  for (uint64_t round = 0; round < 20; ++round) {
    std::string text;
    std::vector<std::vector<int32_t>> words;
    for (uint64_t w = 0; w < 97; ++w) {
      std::vector<int32_t> ids;
      const uint64_t at = (round * 97 + w) * 32;
      // Letters only: a word is one match of the pattern, with its space in front.
      std::string word = " ";
      for (uint64_t i = 0, n = 1 + random.below(17, at); i < n; ++i)
        word += static_cast<char>('a' + random.below(2 + round % 2, at + 1 + i));
      for (const char c : word) ids.push_back(c == ' ' ? 221 : c - '!' + 1);
      text += word;
      words.push_back(ids);
    }
    const auto spec = train({text}, {.vocab_size = 257 + 60});
    ASSERT_EQ(spec.bpe.tokens[221], " ");
    ASSERT_EQ(spec.bpe.merges, train_slowly(words, 257, 60)) << "round " << round;
  }
}

TEST(BpeTrainer, EveryByteAndTheEndOfTextTokenAreThere) {
  const Tokenizer tokenizer(train({"tiny tiny"}, {}));
  EXPECT_EQ(tokenizer.id_of("<|endoftext|>"), 0);
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("\u0000 \u07FF 中 🙂")), "\u0000 \u07FF 中 🙂");
  EXPECT_LT(tokenizer.vocab_size(), 270) << "a small corpus gives a small vocabulary";
}

TEST(BpeTrainer, PortionsAtWordBordersChangeNothing) {
  EXPECT_EQ(train({"one two", " three one", "\ntwo"}, {.min_count = 1}),
            train({"one two three one\ntwo"}, {.min_count = 1}));
}

TEST(BpeTrainer, StrideTakesEveryNthBlockOfLines) {
  std::string text;
  for (int block = 0; block < 6; ++block)
    for (size_t i = 0; i < (64u << 10); i += 8)
      text += std::string(block % 3 == 0 ? "kept" : "left") + " it\n";
  const auto spec = train({text}, {.vocab_size = 300, .stride = 3});
  const Tokenizer tokenizer(spec);
  EXPECT_EQ(tokenizer.encode("kept").size(), 1u);
  EXPECT_EQ(tokenizer.encode("left").size(), 4u);
}

TEST(BpeTrainer, VeryLongWordsEndSoon) {
  const auto spec =
      train({std::string(3000000, 'a'), std::string(1000003, '=')}, {.vocab_size = 280});
  EXPECT_EQ(spec.bpe.tokens[257], "aa");
}

TEST(BpeTrainer, RefusesWhatCannotBeTrained) {
  EXPECT_THROW(BpeTrainer({.vocab_size = 256}), Error);
  EXPECT_NO_THROW(BpeTrainer({.vocab_size = 257}));
  EXPECT_THROW(BpeTrainer({.vocab_size = 257, .special_tokens = {"a"}}), Error);
  BpeTrainer trainer({});
  EXPECT_THROW(trainer.feed("\xC3("), Error);
  EXPECT_EQ(trainer.train().bpe.tokens.size(), 257u) << "no text: bytes only";
}

}  // namespace
}  // namespace hydrofoil::text::bpe_trainer_test
