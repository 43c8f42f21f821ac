// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/optim/bench.h"

#include <gtest/gtest.h>

#include <map>

#include "hydrofoil/core/parallel.h"

namespace hydrofoil::optim::bench_test {
namespace {

TEST(OptimizerBench, CountsTheBytesOfEveryRule) {
  const std::map<std::string, double> bytes = {
      {"AdamW", 28}, {"Lion", 20}, {"Adagrad", 20}, {"SGD", 20}, {"Lamb", 40}};
  for (const auto& [optimizer, want] : bytes) {
    size_t told = 0;
    const auto cases =
        bench({.optimizer = optimizer, .elements = {17, 1003}, .threads = {1, 2}, .rounds = 1},
              [&](const BenchCase&) { ++told; });
    ASSERT_EQ(cases.size(), 12u) << "two sizes, two numbers of threads, three ways to rest";
    EXPECT_EQ(told, cases.size());
    for (const BenchCase& c : cases) {
      EXPECT_EQ(c.bytes_per_element, c.resting == "fp32" ? want : want / 2) << optimizer;
      EXPECT_GT(c.step_seconds, 0);
      EXPECT_GT(c.limit_gb_per_s(), 0);
    }
    EXPECT_EQ(cases[3].threads, 2);
  }
}

TEST(OptimizerBench, LeavesTheThreadsAsTheyWere) {
  const int before = compute_threads();
  bench({.elements = {17}, .threads = {before + 1}, .rounds = 1});
  EXPECT_EQ(compute_threads(), before);
}

}  // namespace
}  // namespace hydrofoil::optim::bench_test
