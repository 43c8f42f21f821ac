// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <vector>

namespace hydrofoil::inference::sampler_test {
namespace {

// Probabilities 0.4, 0.3, 0.2, 0.06, 0.04 of tokens 3, 0, 4, 1, 2.
const std::vector<float> kLogits = {std::log(0.3f), std::log(0.06f), std::log(0.04f),
                                    std::log(0.4f), std::log(0.2f)};

std::map<int32_t, double> left(const SamplingOptions& options, std::vector<int32_t> seen = {},
                               std::vector<int32_t> generated = {}) {
  std::map<int32_t, double> result;
  for (const auto& [token, probability] : candidates(kLogits, options, seen, generated))
    result[token] = probability;
  return result;
}

using testing::DoubleNear;
using testing::Pair;
using testing::UnorderedElementsAre;

TEST(Sampler, GreedyTakesTheMostLikelyAndTheSmallerOfEquals) {
  EXPECT_THAT(left({}), UnorderedElementsAre(Pair(3, 1)));
  EXPECT_EQ(candidates(std::vector<float>{1, 2, 2}, {}, {}, {}).front().token, 1);
}

TEST(Sampler, EachFilterKeepsWhatItsDefinitionSays) {
  const auto near = [](double p) { return DoubleNear(p, 1e-6); };
  EXPECT_THAT(left({.temperature = 1}),
              UnorderedElementsAre(Pair(3, near(0.4)), Pair(0, near(0.3)), Pair(4, near(0.2)),
                                   Pair(1, near(0.06)), Pair(2, near(0.04))));
  EXPECT_THAT(left({.temperature = 1, .top_k = 2}),
              UnorderedElementsAre(Pair(3, near(4.0 / 7)), Pair(0, near(3.0 / 7))));
  EXPECT_THAT(left({.temperature = 1, .top_p = 0.65}),
              UnorderedElementsAre(Pair(3, near(4.0 / 7)), Pair(0, near(3.0 / 7))));
  EXPECT_THAT(
      left({.temperature = 1, .min_p = 0.45}),
      UnorderedElementsAre(Pair(3, near(4.0 / 9)), Pair(0, near(3.0 / 9)), Pair(4, near(2.0 / 9))));
  // Surprise of 0.3 and 0.2 is nearest to the entropy, 1.347.
  EXPECT_THAT(left({.temperature = 1, .typical_p = 0.45}),
              UnorderedElementsAre(Pair(0, near(0.6)), Pair(4, near(0.4))));
  // Squares of the probabilities.
  EXPECT_THAT(left({.temperature = 0.5, .top_k = 2}),
              UnorderedElementsAre(Pair(3, near(0.16 / 0.25)), Pair(0, near(0.09 / 0.25))));
}

// Against sorting the whole vocabulary.
TEST(Sampler, TopPOfManyTokensIsTheFewestMostLikely) {
  std::vector<float> logits;
  for (int i = 0; i < 5003; ++i) logits.push_back(5 * std::sin(static_cast<float>(i * i)));
  const double total = std::accumulate(logits.begin(), logits.end(), 0.0,
                                       [](double sum, float x) { return sum + std::exp(x); });
  auto order = largest_logits(logits, logits.size());
  for (const double share : {0.1, 0.9, 0.999}) {
    size_t count = 0;
    for (double upto = 0; upto < share; ++count) upto += std::exp(order[count].logit) / total;
    const auto got = candidates(logits, {.temperature = 1, .top_p = share}, {}, {});
    ASSERT_EQ(got.size(), count);
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(got[i].token, order[i].token);
  }
}

// Temperature comes before top-p: the flatter distribution is cut, not the original.
TEST(Sampler, TemperatureComesFirst) {
  EXPECT_EQ(left({.temperature = 1, .top_p = 0.65}).size(), 2u);
  EXPECT_EQ(left({.temperature = 4, .top_p = 0.65}).size(), 3u);
}

TEST(Sampler, PenaltiesAndBiasMoveLogits) {
  const SamplingOptions one{.temperature = 1};
  auto options = one;
  options.repetition_penalty = 2;  // negative logits double
  const double of_3 = 0.4 * 0.4, of_0 = 0.3 * 0.3, rest = 0.3;
  const double total = of_3 + of_0 + rest;
  auto got = left(options, {3, 0, 3});
  EXPECT_NEAR(got[3], of_3 / total, 1e-6);
  EXPECT_NEAR(got[0], of_0 / total, 1e-6);
  options = one;
  options.presence_penalty = 1;
  got = left(options, {0}, {3, 3});
  EXPECT_NEAR(got[3] / got[0], 0.4 / 0.3 * std::exp(-1), 1e-6);
  options = one;
  options.frequency_penalty = 1;
  got = left(options, {}, {3, 3});
  EXPECT_NEAR(got[3] / got[0], 0.4 / 0.3 * std::exp(-2), 1e-6);
  options = one;
  options.logit_bias = {{2, 100.0}, {99, 1.0}};
  EXPECT_NEAR(left(options)[2], 1, 1e-6);
}

TEST(Sampler, DrawsAsOftenAsTheProbabilitiesSay) {
  const auto all = candidates(kLogits, {.temperature = 1}, {}, {});
  std::map<int32_t, double> counts;
  constexpr int kDraws = 20000;
  for (uint64_t i = 0; i < kDraws; ++i) ++counts[choose(all, {.seed = 11, .step = i})];
  double chi = 0;
  for (const auto& [token, probability] : all)
    chi += std::pow(counts[token] - kDraws * probability, 2) / (kDraws * probability);
  EXPECT_LT(chi, 18.5);  // 4 degrees of freedom: one in a thousand seeds
  EXPECT_EQ(choose(all, {.seed = 11, .step = 5}), choose(all, {.seed = 11, .step = 5}));
}

TEST(Sampler, LargestLogitsAreInOrder) {
  const auto top = largest_logits(kLogits, 3);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].token, 3);
  EXPECT_EQ(top[1].token, 0);
  EXPECT_EQ(top[2].token, 4);
  EXPECT_EQ(largest_logits(kLogits, 99).size(), 5u);
}

}  // namespace
}  // namespace hydrofoil::inference::sampler_test
