// SPDX-License-Identifier: Apache-2.0
// An n-gram model of tokens: what a neural model of the same tokens must beat.
//
//   const NgramModel trigrams(train_tokens, {.vocab_size = 4096});
//   trigrams.score(held_out_tokens).bits_per_byte;
//
// Interpolated Kneser-Ney smoothing with three discounts a level (Chen and Goodman 1998, section
// 3):
//   p(c | ab) = (count(abc) - D(count(abc))) / count(ab*) + backoff(ab) * p(c | b)
// where levels below the highest count in how many different contexts an n-gram was seen, and the
// last one falls back to 1 / vocab_size: every token has a probability above 0 in every context.
// Text is one stream: contexts reach over ends of documents, whose token they hold.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "hydrofoil/data/sampler.h"
#include "hydrofoil/data/token_file.h"

namespace hydrofoil::data {

struct NgramOptions {
  int64_t vocab_size = 0;
  int order = 3;  // tokens, the predicted one included; at most 64 bits in all
};

class NgramModel {
 public:
  // Trains on a whole file. Sorts all n-grams: O(n log n), about 30 bytes a token at the peak.
  // Error(kData) for a token outside the vocabulary or fewer tokens than the order, Error(kConfig)
  // for an order that does not fit.
  NgramModel(const TokenFile& tokens, const NgramOptions& options);
  // Trains on what a run has seen after `samples` samples (one epoch at most): the fair comparison
  // with a model that has been trained for a while.
  NgramModel(const Sampler& sampler, int64_t samples, const NgramOptions& options);

  // p(token | context): the last order - 1 tokens of the context count.
  double probability(std::span<const int64_t> context, int64_t token) const;

  struct Score {
    double bits_per_byte = 0;  // of text, ends of documents included in the bits
    double perplexity = 0;     // a token
    int64_t tokens = 0;        // predicted: all but the first
  };
  // Error(kData) for fewer than two tokens or one outside the vocabulary.
  Score score(const TokenFile& tokens) const;

 private:
  // All n-grams of one length, packed into numbers, ascending: those of a context stand together.
  struct Level {
    std::vector<uint64_t> keys;
    std::vector<uint32_t> counts;
    std::vector<uint64_t> contexts;  // keys without their last token
    struct Context {
      double total;    // of the counts after it
      double backoff;  // the probability left to shorter contexts
    };
    std::vector<Context> stats;         // by context
    std::array<double, 4> discounts{};  // for a count of 0, 1, 2, more

    double discount(uint32_t count) const { return discounts[count < 3 ? count : 3]; }
  };

  explicit NgramModel(const NgramOptions& options);

  // Adds the n-grams that end in a token which has one before it. `at(i)` is token i of `size`.
  template <class At>
  void collect(int64_t size, const At& at, std::vector<uint64_t>& ngrams) const;
  void count_levels(std::vector<uint64_t> ngrams);
  static Level count(const std::vector<uint64_t>& sorted, int bits);
  double probability_of(uint64_t key, int length) const;

  int64_t vocab_size_;
  int order_, bits_;           // bits of one token in a key
  std::vector<Level> levels_;  // by length - 1
};

}  // namespace hydrofoil::data
