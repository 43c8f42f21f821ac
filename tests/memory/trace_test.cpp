// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrofoil::memory::trace_test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

void pass(Trace& trace, std::initializer_list<UnitId> order) {
  trace.begin();
  for (const UnitId unit : order) trace.visit(unit);
}

TEST(Trace, FirstPassRecordsAndTheSecondFollows) {
  Trace trace;
  trace.begin();
  EXPECT_TRUE(trace.visit(0));
  EXPECT_FALSE(trace.visit(0)) << "a repeat of the current unit is not a switch";
  trace.visit(1);
  EXPECT_THAT(trace.upcoming(), IsEmpty());
  trace.begin();
  EXPECT_THAT(trace.upcoming(), ElementsAre(0, 1));
  trace.visit(0);
  EXPECT_THAT(trace.upcoming(), ElementsAre(1));
  EXPECT_EQ(trace.next_use(1), 0U);
  EXPECT_EQ(trace.next_use(0), Trace::never());
}

TEST(Trace, APassThatLeavesTheRecordIsRecordedAnew) {
  Trace trace;
  pass(trace, {0, 1, 2, 3});
  pass(trace, {0, 3, 9, 1});
  trace.begin();
  EXPECT_THAT(trace.upcoming(), ElementsAre(0, 3, 9, 1));
}

TEST(Trace, SkippedUnitsDoNotLoseTheRecord) {
  Trace trace;
  pass(trace, {0, 1, 2, 3, 4});
  trace.begin();
  trace.visit(0);
  trace.visit(2);
  EXPECT_THAT(trace.upcoming(), ElementsAre(3, 4));
}

}  // namespace
}  // namespace hydrofoil::memory::trace_test
