// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/unigram.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <limits>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"

namespace hydrofoil::text::unigram_test {
namespace {

using testing::ElementsAre;
using Ids = std::vector<int32_t>;

Ids encode(const Unigram& model, std::string_view word) {
  Unigram::Scratch scratch;
  Ids ids;
  model.encode_word(word, scratch, ids);
  return ids;
}

// The best sum over all ways to cut, one after the other.
double best_sum(const UnigramSpec& spec, std::string_view word) {
  if (word.empty()) return 0;
  double best = -std::numeric_limits<double>::infinity();
  for (size_t id = 1; id < spec.tokens.size(); ++id)
    if (word.starts_with(spec.tokens[id]))
      best = std::max(best, spec.scores[id] + best_sum(spec, word.substr(spec.tokens[id].size())));
  return best;
}

TEST(Unigram, FindsTheBestOfAllWaysToCut) {
  const Philox random(1, RandomUse::kTest);
  for (uint64_t round = 0; round < 300; ++round) {
    UnigramSpec spec{.tokens = {"<unk>", "a", "b", "c"}, .scores = {0, -3, -3.5, -4}};
    const auto draw = [&](uint64_t n, uint64_t i) { return random.below(n, 1000 * round + i); };
    const auto text = [&](uint64_t size, uint64_t i) {
      std::string letters;
      for (uint64_t k = 0; k < size; ++k) letters += static_cast<char>('a' + draw(3, i + k));
      return letters;
    };
    for (uint64_t t = 0; t < 9; ++t) {
      auto token = text(2 + draw(3, 10 * t), 10 * t + 1);
      if (std::ranges::find(spec.tokens, token) != spec.tokens.end()) continue;
      spec.tokens.push_back(std::move(token));
      spec.scores.push_back(-4 - 5 * random.uniform(1000 * round + 500 + t));
    }
    const std::string word = text(1 + draw(11, 200), 201);
    std::string joined;
    double sum = 0;
    for (const int32_t id : encode(Unigram(spec, {}), word)) {
      joined += spec.tokens[static_cast<size_t>(id)];
      sum += spec.scores[static_cast<size_t>(id)];
    }
    EXPECT_EQ(joined, word);
    EXPECT_DOUBLE_EQ(sum, best_sum(spec, word)) << word;
  }
}

TEST(Unigram, WhatNoTokenCoversIsOneUnknownOrItsBytes) {
  UnigramSpec spec{.tokens = {"<unk>", "a", "é", "<0xC3>", "<0xB6>"}, .scores = {0, -1, -2, 0, 0}};
  EXPECT_THAT(encode(Unigram(spec, {}), "aéxö中a"), ElementsAre(1, 2, 0, 1));
  spec.byte_fallback = true;
  EXPECT_THAT(encode(Unigram(spec, {}), "aöa"), ElementsAre(1, 3, 4, 1));
  EXPECT_THAT(encode(Unigram(spec, {}), "aöx"), ElementsAre(1, 0)) << "no byte for x";
}

TEST(Unigram, ExcludedTokensAreNeverProduced) {
  const UnigramSpec spec{.tokens = {"<unk>", "<", "s", ">", "<s>"}, .scores = {0, -1, -1, -1, 0}};
  const Ids excluded{4};
  EXPECT_THAT(encode(Unigram(spec, {}), "<s>"), ElementsAre(4));
  EXPECT_THAT(encode(Unigram(spec, excluded), "<s>"), ElementsAre(1, 2, 3));
}

TEST(Unigram, LongWordsTakeTheirTime) {
  const UnigramSpec spec{.tokens = {"<unk>", "a", "aa", "aaa"}, .scores = {0, -3, -4, -5}};
  EXPECT_EQ(encode(Unigram(spec, {}), std::string(3'000'000, 'a')), Ids(1'000'000, 3));
}

TEST(Unigram, RefusesWhatContradictsItself) {
  const UnigramSpec good{.tokens = {"<unk>", "a"}, .scores = {0, -1}};
  EXPECT_NO_THROW(Unigram(good, {}));
  for (const auto& spoil : std::vector<std::function<void(UnigramSpec&)>>{
           [](UnigramSpec& spec) { spec.unknown = 2; },
           [](UnigramSpec& spec) { spec.unknown = -1; },
           [](UnigramSpec& spec) { spec.tokens[0] = "a"; },
           [](UnigramSpec& spec) { spec.scores[1] = NAN; },
           [](UnigramSpec& spec) { spec.scores.pop_back(); }}) {
    UnigramSpec bad = good;
    spoil(bad);
    EXPECT_THROW(Unigram(bad, {}), Error);
  }
}

}  // namespace
}  // namespace hydrofoil::text::unigram_test
