// SPDX-License-Identifier: Apache-2.0
// Times with known verdicts.
#include "hydrofoil/engine/service_level.h"

#include <gtest/gtest.h>

#include <vector>

namespace hydrofoil::engine::service_level_test {
namespace {

constexpr ServiceLevel kLevel{.prompt_rate = 512, .token_rate = 4};

// The first token after `first` seconds, then one each of these intervals.
Timeline timeline(double first, const std::vector<double>& intervals) {
  Timeline result{.arrival = 10, .prompt_tokens = 1024, .tokens = {10 + first}};
  for (const double seconds : intervals) result.tokens.push_back(result.tokens.back() + seconds);
  return result;
}

TEST(ServiceLevel, TheFirstTokenMayTakeAsLongAsThePromptIs) {
  EXPECT_TRUE(meets(timeline(1.99, {}), kLevel));
  EXPECT_FALSE(meets(timeline(2.01, {}), kLevel));
}

TEST(ServiceLevel, EachTokenIsHeldAgainstTheMeanOfRecentIntervals) {
  EXPECT_TRUE(meets(timeline(1, std::vector<double>(50, 0.24)), kLevel));
  EXPECT_FALSE(meets(timeline(1, std::vector<double>(50, 0.25)), kLevel));  // must be beaten
  EXPECT_FALSE(meets(timeline(1, {0.3, 0.1, 0.1}), kLevel));  // the first stands alone
  // After 16 of 0.1 s the new one weighs 2/17 / (1 - (15/17)^17): 0.1335.
  auto intervals = std::vector<double>(16, 0.1);
  intervals.push_back(0.1 + 0.149 / 0.1335);
  EXPECT_TRUE(meets(timeline(1, intervals), kLevel));
  intervals.back() = 0.1 + 0.151 / 0.1335;
  EXPECT_FALSE(meets(timeline(1, intervals), kLevel));
}

TEST(ServiceLevel, ReportsRatesAndQuantiles) {
  const std::vector<Timeline> timelines = {timeline(1, {0.1, 0.2}), timeline(3, {0.1, 0.1, 0.1})};
  const auto got = report(timelines, kLevel);
  EXPECT_NEAR(got.requests_per_second, 2 / 3.3, 1e-9);
  EXPECT_NEAR(got.tokens_per_second, 7 / 3.3, 1e-9);
  EXPECT_EQ(got.met, 0.5);
  EXPECT_NEAR(got.effective, 1 / 3.3, 1e-9);
  EXPECT_NEAR(got.interval_p50, 0.1, 1e-9);
  EXPECT_NEAR(got.first_token_p50, 1, 1e-9);
}

}  // namespace
}  // namespace hydrofoil::engine::service_level_test
