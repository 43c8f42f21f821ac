// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/log.h"

#include <gtest/gtest.h>

namespace hydrofoil::log::log_test {
namespace {

std::string written(Level level, std::string_view prefix) {
  configure(level, prefix);
  testing::internal::CaptureStderr();
  info("one");
  warn("two");
  debug("three");
  configure(Level::kInfo);
  return testing::internal::GetCapturedStderr();
}

TEST(Log, InfoIsForPeopleAndDebugIsNot) {
  EXPECT_EQ(written(Level::kInfo, ""), "hydrofoil: one\nhydrofoil: warning: two\n");
}

TEST(Log, QuietRanksStillWarn) {
  EXPECT_EQ(written(Level::kQuiet, "rank 1"), "hydrofoil: [rank 1] warning: two\n");
}

TEST(Log, DebugSaysEverything) {
  EXPECT_EQ(written(Level::kDebug, ""),
            "hydrofoil: one\nhydrofoil: warning: two\nhydrofoil: debug: three\n");
}

}  // namespace
}  // namespace hydrofoil::log::log_test
