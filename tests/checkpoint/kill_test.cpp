// SPDX-License-Identifier: Apache-2.0
#include "tests/checkpoint/kill.h"

namespace hydrofoil::checkpoint::kill_test {
namespace {

TEST(Kill, TwentyRandomMomentsLeaveTheOldOrTheNew) {
  kill_at_random_moments(20);
}

TEST(Kill, TwentyRandomMomentsOfASaveBesideTrainingLeaveTheOldOrTheNew) {
  kill_at_random_moments(20, Way::kBeside);
}

}  // namespace
}  // namespace hydrofoil::checkpoint::kill_test
