// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace hydrofoil::error_test {
namespace {

TEST(Error, LineHoldsWhereWhatAndTheNextStep) {
  const Error full(ExitCode::kConfig, "stage is 4, expected 0 to 3", "run.json:3:5", "use 3");
  EXPECT_EQ(full.line(), "run.json:3:5: stage is 4, expected 0 to 3 (use 3)");
  EXPECT_STREQ(full.what(), "stage is 4, expected 0 to 3");
  EXPECT_EQ(full.code(), ExitCode::kConfig);
}

TEST(Error, LineLeavesOutWhatIsNotKnown) {
  EXPECT_EQ(Error(ExitCode::kError, "what").line(), "what");
  EXPECT_EQ(Error(ExitCode::kError, "what", "here").line(), "here: what");
  EXPECT_EQ(Error(ExitCode::kError, "what", "", "do this").line(), "what (do this)");
}

TEST(Error, ErrnoMessageNamesTheCallAndTheReason) {
  errno = ENOENT;
  EXPECT_EQ(errno_message("open"), "open: No such file or directory");
}

// Scripts rely on the numbers (docs/errors.md).
TEST(Error, ExitCodesAreFixed) {
  EXPECT_EQ(static_cast<int>(ExitCode::kUsage), 2);
  EXPECT_EQ(static_cast<int>(ExitCode::kConfig), 3);
  EXPECT_EQ(static_cast<int>(ExitCode::kDoesNotFit), 4);
  EXPECT_EQ(static_cast<int>(ExitCode::kData), 5);
  EXPECT_EQ(static_cast<int>(ExitCode::kCheckpoint), 6);
  EXPECT_EQ(static_cast<int>(ExitCode::kNumeric), 7);
  EXPECT_EQ(static_cast<int>(ExitCode::kTimeout), 8);
  EXPECT_EQ(static_cast<int>(ExitCode::kPeerFailed), 9);
  EXPECT_EQ(static_cast<int>(ExitCode::kRetryLater), 75);
  EXPECT_EQ(static_cast<int>(ExitCode::kInterrupted), 130);
}

}  // namespace
}  // namespace hydrofoil::error_test
