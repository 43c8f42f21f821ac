// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "hydrofoil/core/error.h"
#include "tests/support/scratch.h"

namespace hydrofoil::data::sampler_test {
namespace {

TokenFile counting_tokens(const std::filesystem::path& folder, int32_t count) {
  TokenFileWriter writer(folder / "t.tokens", 1 << 20, std::string(32, 'a'));
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) tokens[static_cast<size_t>(i)] = i;
  writer.begin_document(1);
  writer.add(tokens);
  writer.finish();
  return TokenFile(folder / "t.tokens");
}

TEST(Permute, IsABijectionThatDependsOnSeedAndEpoch) {
  for (const int64_t n : {1, 2, 3, 17, 97, 1000, 4096, 4097}) {
    std::set<int64_t> seen;
    for (int64_t i = 0; i < n; ++i) seen.insert(permute(i, n, 7, 3));
    EXPECT_EQ(std::ssize(seen), n);
    EXPECT_EQ(*seen.begin(), 0);
    EXPECT_EQ(*seen.rbegin(), n - 1);
  }
  int same_seed = 0, same_epoch = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    same_seed += permute(i, 1000, 7, 0) == permute(i, 1000, 8, 0);
    same_epoch += permute(i, 1000, 7, 0) == permute(i, 1000, 7, 1);
  }
  EXPECT_LT(same_seed, 10);
  EXPECT_LT(same_epoch, 10);
}

TEST(Permute, LooksShuffled) {
  // Neighbours of a sorted order end up about n / 3 apart on average.
  double distance = 0;
  for (int64_t i = 0; i + 1 < 10000; ++i)
    distance +=
        static_cast<double>(std::abs(permute(i, 10000, 1, 0) - permute(i + 1, 10000, 1, 0)));
  EXPECT_NEAR(distance / 9999, 10000.0 / 3, 200);
}

TEST(Sampler, AnEpochOverAnyNumberOfRanksIsEveryWindowOnce) {
  const test::Scratch scratch;
  const TokenFile tokens = counting_tokens(scratch.path(), 17 * 29 + 5);
  const Sampler sampler(tokens, {.sequence_length = 17, .seed = 3});
  EXPECT_EQ(sampler.samples_per_epoch(), 29);
  for (const int64_t ranks : {1, 2, 3}) {
    std::set<int64_t> begins;
    for (int64_t rank = 0; rank < ranks; ++rank)
      for (int64_t sample = rank; sample < 29; sample += ranks)
        begins.insert(sampler.window_begin(sample));
    EXPECT_EQ(begins.size(), 29U);
  }
  EXPECT_NE(sampler.window_begin(0), sampler.window_begin(29))
      << "the next epoch has another order";
}

TEST(Sampler, LabelsAreTheNextTokens) {
  const test::Scratch scratch;
  const TokenFile tokens = counting_tokens(scratch.path(), 18);
  const Sampler sampler(tokens, {.sequence_length = 17, .seed = 3});
  std::vector<int64_t> inputs(17), labels(17);
  sampler.fill(5, inputs, labels);
  for (size_t i = 0; i < 17; ++i) {
    EXPECT_EQ(inputs[i], static_cast<int64_t>(i));
    EXPECT_EQ(labels[i], static_cast<int64_t>(i) + 1);
  }
}

TEST(Sampler, TextShorterThanOneSequenceIsRefused) {
  const test::Scratch scratch;
  const TokenFile tokens = counting_tokens(scratch.path(), 17);
  EXPECT_THROW(Sampler(tokens, {.sequence_length = 17}), Error);
}

}  // namespace
}  // namespace hydrofoil::data::sampler_test
