// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/timings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hydrofoil/core/error.h"

namespace hydrofoil::comm::timings_test {
namespace {

using testing::HasSubstr;

// 1 MB in 2 ms: 4 Gbit/s.
TimingRow megabyte(Operation op) {
  return {.op = op, .bytes = 1'000'000, .ranks = 4, .calls = 1, .total_ms = 2, .mean_ms = 2};
}

TEST(Timings, BandwidthsAreThoseOfTheRing) {
  EXPECT_DOUBLE_EQ(megabyte(Operation::kAllGather).alg_gb_per_s(), 4);
  EXPECT_DOUBLE_EQ(megabyte(Operation::kAllGather).bus_gb_per_s(), 3);
  EXPECT_DOUBLE_EQ(megabyte(Operation::kAllReduce).alg_gb_per_s(), 8);
  EXPECT_DOUBLE_EQ(megabyte(Operation::kAllReduce).bus_gb_per_s(), 6);
  EXPECT_DOUBLE_EQ(megabyte(Operation::kBroadcast).bus_gb_per_s(), 4);
  EXPECT_EQ(TimingRow().alg_gb_per_s(), 0);
}

TEST(Timings, TheMeanLeavesOutTheFastestAndTheSlowestTenth) {
  Timings timings;
  for (int i = 0; i < 18; ++i) timings.add(Operation::kBarrier, 0, 2, 3'000'000);
  timings.add(Operation::kBarrier, 0, 2, 1'000'000'000);
  timings.add(Operation::kBarrier, 0, 2, 1);
  const auto rows = timings.rows();
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].calls, 20U);
  EXPECT_NEAR(rows[0].mean_ms, 3, 1e-6);
  EXPECT_NEAR(rows[0].total_ms, 54 + 1000, 1e-3);
}

TEST(Timings, OperationsHaveDeepSpeedsNamesToo) {
  EXPECT_EQ(operation_named("all_reduce"), Operation::kAllReduce);
  EXPECT_EQ(operation_named("reduce_scatter_tensor"), Operation::kReduceScatter);
  EXPECT_EQ(operation_named("all_to_all_single"), Operation::kAllToAll);
  EXPECT_EQ(operation_named("isend"), Operation::kSend);
  try {
    operation_named("alltoall");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig);
    EXPECT_THAT(error.line(), HasSubstr("there is no operation 'alltoall'"));
  }
}

TEST(Timings, ATableHasALineAMessage) {
  const auto lines = timing_lines({megabyte(Operation::kAllReduce)});
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_THAT(lines[0], HasSubstr("bus Gbit/s"));
  EXPECT_THAT(lines[1], HasSubstr("all_reduce"));
  EXPECT_THAT(lines[1], HasSubstr("6.000"));
}

}  // namespace
}  // namespace hydrofoil::comm::timings_test
