// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/ratio.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

namespace hydrofoil::monitor::ratio_test {
namespace {

using Pairs = std::vector<std::pair<double, double>>;

TEST(Ratio, MediansAreTheMiddleAndTheMeanOfTwo) {
  EXPECT_EQ(median(std::array{3.0, 1.0, 2.0}), 2);
  EXPECT_EQ(median(std::array{4.0, 1.0, 2.0, 3.0}), 2.5);
  EXPECT_EQ(median(std::array{7.0}), 7);
}

TEST(Ratio, IsOfMediansAndCertainWhereNothingVaries) {
  const auto sure = ratio_of_medians(Pairs(5, {2, 3}));
  EXPECT_EQ(sure.ours, 2);
  EXPECT_EQ(sure.theirs, 3);
  EXPECT_EQ(sure.value, 1.5);
  EXPECT_EQ(sure.low, 1.5);
  EXPECT_EQ(sure.high, 1.5);
  // One pair in which a neighbour took the machine does not move it.
  EXPECT_EQ(ratio_of_medians(Pairs{{2, 3}, {2, 3}, {2, 3}, {2, 30}, {2, 3}}).value, 1.5);
}

// In 95 of 100 series of measurements the interval holds the truth; a few more are let off.
TEST(Ratio, IntervalsHoldTheTruth) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> noise(0, 0.1);
  int held = 0;
  for (int series = 0; series < 100; ++series) {
    Pairs pairs(21);
    for (auto& [ours, theirs] : pairs)
      ours = std::exp(noise(random)), theirs = 1.3 * std::exp(noise(random));
    const auto ratio = ratio_of_medians(pairs);
    EXPECT_LE(ratio.low, ratio.value);
    EXPECT_LE(ratio.value, ratio.high);
    EXPECT_LT(ratio.high - ratio.low, 0.5);
    held += ratio.low <= 1.3 && 1.3 <= ratio.high;
  }
  EXPECT_GE(held, 88);
}

}  // namespace
}  // namespace hydrofoil::monitor::ratio_test
