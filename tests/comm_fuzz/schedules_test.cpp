// SPDX-License-Identifier: Apache-2.0
#include "tests/comm/schedules.h"

namespace hydrofoil::comm::test::schedules_test {
namespace {

TEST(Schedules, NoneOfTenThousandHangs) {
  play_schedules(1'000'000, 10'000);
}

}  // namespace
}  // namespace hydrofoil::comm::test::schedules_test
