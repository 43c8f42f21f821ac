// SPDX-License-Identifier: Apache-2.0
#include "tests/comm/schedules.h"

namespace hydrofoil::comm::test::schedules_test {
namespace {

TEST(Schedules, NoneHangs) {
  play_schedules(1, 200);
}

}  // namespace
}  // namespace hydrofoil::comm::test::schedules_test
