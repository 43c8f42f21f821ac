// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/bpe.h"

#include <gtest/gtest.h>

#include <ctime>
#include <map>
#include <numeric>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"

namespace hydrofoil::text::bpe_test {
namespace {

std::vector<int32_t> encode(const Bpe& bpe, std::string_view word) {
  Bpe::Scratch scratch;
  std::vector<int32_t> ids;
  bpe.encode_word(word, scratch, ids);
  return ids;
}

// The definition, without a heap: find the lowest rank among all pairs, merge its leftmost
// occurrence, repeat.
std::vector<int32_t> encode_slowly(const BpeSpec& spec, std::string_view word) {
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t i = 0; i < spec.merges.size(); ++i) ranks[spec.merges[i]] = i;
  const auto id_of = [&](const std::string& token) {
    return static_cast<int32_t>(std::find(spec.tokens.begin(), spec.tokens.end(), token) -
                                spec.tokens.begin());
  };
  std::vector<int32_t> ids;
  for (const char c : word) ids.push_back(id_of(std::string(1, c)));
  for (;;) {
    size_t best = spec.merges.size(), at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i)
      if (const auto found = ranks.find({ids[i], ids[i + 1]});
          found != ranks.end() && found->second < best)
        best = found->second, at = i;
    if (best == spec.merges.size()) return ids;
    ids[at] = id_of(spec.tokens[ids[at]] + spec.tokens[ids[at + 1]]);
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

// Bytes a..d and random merges over what there is, in random order of rank.
BpeSpec random_spec(uint64_t seed, size_t merges) {
  const Philox random(seed, RandomUse::kTest);
  BpeSpec spec{.tokens = {"a", "b", "c", "d"}};
  for (uint64_t i = 0; spec.merges.size() < merges; i += 2) {
    const auto left = static_cast<int32_t>(random.below(spec.tokens.size(), i));
    const auto right = static_cast<int32_t>(random.below(spec.tokens.size(), i + 1));
    const std::string token = spec.tokens[left] + spec.tokens[right];
    const bool is_known =
        std::find(spec.tokens.begin(), spec.tokens.end(), token) != spec.tokens.end();
    const std::pair merge(left, right);
    if (std::find(spec.merges.begin(), spec.merges.end(), merge) != spec.merges.end()) continue;
    spec.merges.insert(
        spec.merges.begin() + static_cast<std::ptrdiff_t>(random.below(spec.merges.size() + 1, i)),
        merge);
    if (!is_known) spec.tokens.push_back(token);
  }
  return spec;
}

TEST(Bpe, EqualsTheDefinitionOnRandomModelsAndWords) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const BpeSpec spec = random_spec(seed, 1 + seed % 23);
    const Bpe bpe(spec);
    const Philox random(seed, RandomUse::kTest, 1);
    for (uint64_t w = 0; w < 40; ++w) {
      std::string word;
      for (uint64_t i = 0, n = 1 + random.below(97, w * 1000); i < n; ++i)
        word += static_cast<char>('a' + random.below(w % 4 + 1, w * 1000 + i + 1));
      ASSERT_EQ(encode(bpe, word), encode_slowly(spec, word)) << "seed " << seed << ": " << word;
    }
  }
}

TEST(Bpe, CacheGivesTheSameIdsAndSurvivesItsOwnRenewal) {
  const Bpe bpe(random_spec(7, 20));
  Bpe::Scratch scratch;
  std::vector<int32_t> all, expected;
  for (int i = 0; i < 200000; ++i) {
    std::string word;
    for (int rest = i; rest > 0; rest /= 4) word += static_cast<char>('a' + rest % 4);
    bpe.encode_word(word, scratch, all);
    if (i % 1009 == 0) {
      all.clear();
      bpe.encode_word(word, scratch, all);
      expected = encode(bpe, word);
      ASSERT_EQ(all, expected) << word;
    }
  }
}

TEST(Bpe, MegabyteWordsAreNotQuadratic) {
  const Bpe bpe(random_spec(3, 23));
  const Philox random(5, RandomUse::kTest);
  std::string word;
  for (uint64_t i = 0; i < 2000003; ++i) word += static_cast<char>('a' + random.below(2, i));
  const std::clock_t begin = std::clock();  // of this process: the machine has other things to do
  const auto ids = encode(bpe, word);
  EXPECT_LT(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, 20)
      << "a quadratic encoder needs hours";
  EXPECT_GT(ids.size(), 1000u);
}

TEST(Bpe, BytesWithoutATokenBecomeUnknownOrAreLeftOut) {
  BpeSpec spec{.tokens = {"a", "b", "ab", "<unk>"}, .merges = {{0, 1}}};
  EXPECT_EQ(encode(Bpe(spec), "axyb"), (std::vector<int32_t>{2})) << "as HF: dropped, then merged";
  spec.unknown = 3;
  EXPECT_EQ(encode(Bpe(spec), "axyb"), (std::vector<int32_t>{0, 3, 3, 1}));
  spec.fuse_unknown = true;
  EXPECT_EQ(encode(Bpe(spec), "axyb"), (std::vector<int32_t>{0, 3, 1}));
  EXPECT_FALSE(Bpe(spec).covers_all_bytes());
}

TEST(Bpe, OverCharactersWhatIsNoTokenBecomesItsBytesOrUnknown) {
  BpeSpec spec{.tokens = {"<unk>", "é", "a", "éa", "<0xC3>", "<0xB6>", "Ã"},
               .merges = {{1, 2}},
               .unknown = 0,
               .fuse_unknown = true,
               .characters = CharacterBpe{.byte_fallback = true}};
  EXPECT_EQ(encode(Bpe(spec), "éaéö"), (std::vector<int32_t>{3, 1, 4, 5}));
  EXPECT_EQ(encode(Bpe(spec), "aüxö"), (std::vector<int32_t>{2, 0, 4, 5})) << "no byte for ü";
  spec.characters->byte_fallback = false;
  EXPECT_EQ(encode(Bpe(spec), "aöüé"), (std::vector<int32_t>{2, 0, 1}));
  EXPECT_EQ(encode(Bpe(spec, {1}), "éa"), (std::vector<int32_t>{0, 2})) << "hidden";
}

TEST(Bpe, OverCharactersDecodesSignsAndBytes) {
  const Bpe bpe({.tokens = {"a"}, .characters = CharacterBpe{.byte_fallback = true}});
  EXPECT_EQ(bpe.decoded("▁▁a▁", false), "  a ");
  EXPECT_EQ(bpe.decoded("▁▁a▁", true), " a ");
  EXPECT_EQ(bpe.decoded("<0xC3>", true), "\xC3");
  EXPECT_EQ(bpe.decoded("<0x20>", true), "");
  EXPECT_EQ(bpe.decoded("<0xG3>", false), "<0xG3>");
}

TEST(Bpe, IgnoreMergesTakesWholeTokensButNeverHiddenOnes) {
  BpeSpec spec{.tokens = {"a", "b", "ab", "aba"}, .merges = {{0, 1}}};
  EXPECT_EQ(encode(Bpe(spec), "aba"), (std::vector<int32_t>{2, 0}));
  spec.ignore_merges = true;
  EXPECT_EQ(encode(Bpe(spec), "aba"), (std::vector<int32_t>{3}));
  EXPECT_EQ(encode(Bpe(spec, {3}), "aba"), (std::vector<int32_t>{2, 0}));
}

TEST(Bpe, ByteLevelAlphabetIsABijection) {
  std::string bytes(256, '\0');
  std::iota(bytes.begin(), bytes.end(), '\0');
  EXPECT_EQ(from_byte_level(to_byte_level(bytes)), bytes);
  EXPECT_EQ(to_byte_level(" \n\t\x7F\xAD"), "ĠĊĉġŃ");
  EXPECT_EQ(from_byte_level("中"), std::nullopt);
  EXPECT_EQ(from_byte_level("\xC4"), std::nullopt);
  EXPECT_EQ(from_byte_level(" "), std::nullopt) << "a space is written Ġ";
  const auto order = byte_level_order();
  EXPECT_EQ(std::vector<int>(order.begin(), order.begin() + 3), (std::vector<int>{'!', '"', '#'}));
  EXPECT_EQ(std::accumulate(order.begin(), order.end(), 0), 255 * 128);
}

TEST(Bpe, RefusesModelsThatContradictThemselves) {
  EXPECT_THROW(Bpe({.tokens = {"a", "a"}}), Error);
  EXPECT_THROW(Bpe({.tokens = {"a", "b"}, .merges = {{0, 1}}}), Error);
  EXPECT_THROW(Bpe({.tokens = {"a", "b", "ab"}, .merges = {{0, 3}}}), Error);
  EXPECT_THROW(Bpe({.tokens = {"a", "b", "ab"}, .merges = {{-1, 1}}}), Error);
  EXPECT_THROW(Bpe({.tokens = {"a"}, .unknown = 1}), Error);
}

}  // namespace
}  // namespace hydrofoil::text::bpe_test
