// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/ngram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"
#include "tests/support/scratch.h"

namespace hydrofoil::data::ngram_test {
namespace {

using Tokens = std::vector<int32_t>;
using Gram = std::vector<int32_t>;

TokenFile file_of(const test::Scratch& scratch, const Tokens& tokens, uint64_t text_bytes = 1000) {
  const auto path = scratch.path() / (io::unique_id() + ".tokens");
  TokenFileWriter writer(path, 1 << 20, std::string(32, 'a'));
  writer.begin_document(text_bytes);
  writer.add(tokens);
  writer.finish();
  return TokenFile(path);
}

// Skewed tokens that depend on the one before: some n-grams are frequent, most are rare.
Tokens chain(size_t count, uint64_t vocab_size, uint64_t seed) {
  const Philox random(seed, RandomUse::kTest);
  Tokens tokens;
  uint64_t last = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const double u = random.uniform(i);
    last = (last * 7 + static_cast<uint64_t>(static_cast<double>(vocab_size) * u * u * u)) %
           vocab_size;
    tokens.push_back(static_cast<int32_t>(last));
  }
  return tokens;
}

// The formulas as they stand in the paper, top down, counting anew for every question.
class Definition {
 public:
  Definition(const Tokens& tokens, int32_t vocab_size, size_t order) : vocab_size_(vocab_size) {
    std::map<Gram, int> counts;
    for (size_t i = order == 1 ? 1 : 0; i + order <= tokens.size(); ++i)
      ++counts[Gram(tokens.begin() + static_cast<std::ptrdiff_t>(i),
                    tokens.begin() + static_cast<std::ptrdiff_t>(i + order))];
    for (size_t n = order; n > 0; --n) {
      counts_[n] = counts;
      std::map<Gram, int> shorter;
      for (const auto& [gram, times] : counts) ++shorter[Gram(gram.begin() + 1, gram.end())];
      counts = shorter;
    }
  }

  double p(const Gram& gram) const {
    if (gram.empty()) return 1.0 / vocab_size_;
    const double shorter = p(Gram(gram.begin() + 1, gram.end()));
    double total = 0, left = 0, seen = 0;
    for (const auto& [other, times] : counts_.at(gram.size())) {
      if (!std::equal(gram.begin(), gram.end() - 1, other.begin())) continue;
      total += times;
      left += discount(gram.size(), times);
      if (other == gram) seen = times - discount(gram.size(), times);
    }
    return total == 0 ? shorter : seen / total + left / total * shorter;
  }

 private:
  double discount(size_t length, int times) const {
    double n[5] = {};
    for (const auto& [gram, c] : counts_.at(length))
      if (c < 5) ++n[c];
    const double y = n[1] / (n[1] + 2 * n[2]);
    const int i = std::min(times, 3);
    const double estimate = i - (i + 1) * y * n[i + 1] / n[i];
    return estimate > 0 && estimate <= i ? estimate : 0.5;
  }

  std::map<size_t, std::map<Gram, int>> counts_;
  int32_t vocab_size_;
};

TEST(Ngram, EqualsTheFormulasOfThePaper) {
  const test::Scratch scratch;
  const Tokens tokens = chain(1009, 17, 1);
  for (const int order : {1, 2, 3, 4}) {
    const NgramModel model(file_of(scratch, tokens), {.vocab_size = 17, .order = order});
    const Definition definition(tokens, 17, static_cast<size_t>(order));
    const Tokens questions = chain(40, 17, 2);  // seen and unseen n-grams
    for (size_t i = 3; i < questions.size(); ++i) {
      const std::vector<int64_t> context(questions.begin(),
                                         questions.begin() + static_cast<std::ptrdiff_t>(i));
      const Gram gram(questions.begin() + static_cast<std::ptrdiff_t>(i) + 1 - order,
                      questions.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      const double expected = definition.p(gram);
      ASSERT_NEAR(model.probability(context, questions[i]), expected, 1e-12 * expected) << order;
    }
  }
}

TEST(Ngram, ProbabilitiesOfAContextSumToOne) {
  const test::Scratch scratch;
  for (const size_t count : {3, 10, 97, 100003}) {
    const NgramModel model(file_of(scratch, chain(count, 97, 3)), {.vocab_size = 101});
    for (const std::vector<int64_t>& context :
         {std::vector<int64_t>{}, {0}, {100}, {3, 5}, {100, 3}, {3, 100}, {1, 2, 3, 5}}) {
      double sum = 0;
      for (int64_t token = 0; token < 101; ++token) {
        const double p = model.probability(context, token);
        ASSERT_GT(p, 0);
        sum += p;
      }
      ASSERT_NEAR(sum, 1, 1e-9) << count;
    }
  }
}

TEST(Ngram, ScoreAddsUpWhatProbabilitySays) {
  const test::Scratch scratch;
  const NgramModel model(file_of(scratch, chain(5003, 53, 4)), {.vocab_size = 64});
  const Tokens held_out = chain(211, 53, 5);
  double bits = 0;
  for (size_t i = 1; i < held_out.size(); ++i)
    bits -= std::log2(model.probability(
        std::vector<int64_t>(held_out.begin(), held_out.begin() + static_cast<std::ptrdiff_t>(i)),
        held_out[i]));
  const auto score = model.score(file_of(scratch, held_out, 700));
  EXPECT_NEAR(score.bits_per_byte, bits / 700, 1e-9);
  EXPECT_NEAR(score.perplexity, std::exp2(bits / 210), 1e-9);
  EXPECT_EQ(score.tokens, 210);
}

TEST(Ngram, LongerContextsHelpAndAUniformTextCannotBePredicted) {
  const test::Scratch scratch;
  const TokenFile train = file_of(scratch, chain(100003, 97, 6)),
                  held_out = file_of(scratch, chain(5003, 97, 7));
  const auto perplexity = [&](int order) {
    return NgramModel(train, {.vocab_size = 97, .order = order}).score(held_out).perplexity;
  };
  EXPECT_LT(perplexity(2), 0.9 * perplexity(1));
  const Philox random(8, RandomUse::kTest);
  Tokens noise;
  for (uint64_t i = 0; i < 100003; ++i) noise.push_back(static_cast<int32_t>(random.below(97, i)));
  const NgramModel model(file_of(scratch, noise), {.vocab_size = 97});
  EXPECT_GT(model.score(held_out).perplexity, 90);
}

// Windows share their border: an epoch holds every pair of neighbours once.
TEST(Ngram, AnEpochOfSamplesIsTheWholeText) {
  const test::Scratch scratch;
  const TokenFile tokens = file_of(scratch, chain(17 * 29 + 1, 53, 9));
  const TokenFile held_out = file_of(scratch, chain(211, 53, 5));
  const Sampler sampler(tokens, {.sequence_length = 17, .seed = 2});
  for (const int order : {1, 2}) {
    const NgramOptions options{.vocab_size = 53, .order = order};
    const double whole = NgramModel(tokens, options).score(held_out).perplexity;
    EXPECT_EQ(NgramModel(sampler, 29, options).score(held_out).perplexity, whole);
    EXPECT_EQ(NgramModel(sampler, 1000, options).score(held_out).perplexity, whole);
    EXPECT_NE(NgramModel(sampler, 28, options).score(held_out).perplexity, whole);
  }
}

TEST(Ngram, RefusesWhatDoesNotFit) {
  const test::Scratch scratch;
  const TokenFile tokens = file_of(scratch, {1, 2, 3, 4, 5});
  EXPECT_THROW(NgramModel(tokens, {.vocab_size = 5}), Error) << "token 5";
  EXPECT_THROW(NgramModel(tokens, {.vocab_size = 6, .order = 6}), Error) << "five tokens";
  EXPECT_THROW(NgramModel(tokens, {.vocab_size = 1 << 20, .order = 4}), Error) << "80 bits";
  EXPECT_THROW(NgramModel(tokens, {.vocab_size = 6, .order = 0}), Error);
  EXPECT_THROW(NgramModel(tokens, {.vocab_size = 0}), Error);
  EXPECT_THROW(NgramModel(Sampler(tokens, {.sequence_length = 2}), 0, {.vocab_size = 6}), Error);
  const NgramModel model(tokens, {.vocab_size = 6});
  EXPECT_THROW(model.score(file_of(scratch, {1, 7})), Error);
  EXPECT_THROW(model.score(file_of(scratch, {1})), Error);
  EXPECT_THROW(model.probability({}, -1), Error);
}

}  // namespace
}  // namespace hydrofoil::data::ngram_test
