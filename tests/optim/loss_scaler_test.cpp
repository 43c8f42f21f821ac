// SPDX-License-Identifier: Apache-2.0
// Against a literal transcript of the published algorithm, and rows worked out by hand.
#include "hydrofoil/optim/loss_scaler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "hydrofoil/core/error.h"

namespace hydrofoil::optim::loss_scaler_test {
namespace {

// The algorithm as its authors state it, with their variables.
struct Transcript {
  double scale = 65536;
  long it = 0, last = -1, window, h, hysteresis;
  bool consecutive;

  void update(bool overflow) {
    if (overflow) {
      if (hysteresis == 1 || h == 1)
        scale = std::max(scale / 2, 1.0);
      else
        --h;
      last = it;
    } else {
      if (consecutive) h = hysteresis;
      const long stable = it - last - 1;
      if (stable > 0 && stable % window == 0) {
        if (!consecutive) h = hysteresis;
        scale *= 2;
      }
    }
    ++it;
  }
};

TEST(LossScaler, FollowsTheTranscriptFor30StepsOfScriptedOverflows) {
  const std::set<int> overflows{0, 1, 4, 5, 6, 13, 20, 21, 22, 23};
  for (const int64_t window : {2, 5})
    for (const int64_t hysteresis : {1, 2, 3})
      for (const bool consecutive : {false, true}) {
        LossScaler scaler({.dynamic = true,
                           .initial = 65536,
                           .window = window,
                           .hysteresis = hysteresis,
                           .consecutive_hysteresis = consecutive});
        Transcript expected{.window = window,
                            .h = hysteresis,
                            .hysteresis = hysteresis,
                            .consecutive = consecutive};
        for (int step = 0; step < 30; ++step) {
          scaler.update(overflows.contains(step));
          expected.update(overflows.contains(step));
          ASSERT_EQ(scaler.scale(), expected.scale) << "step " << step;
          ASSERT_EQ(scaler.state().hysteresis, expected.h) << "step " << step;
        }
      }
}

TEST(LossScaler, TheFirstDoublingComesAfterWindowPlusOneCleanSteps) {
  LossScaler scaler({.dynamic = true, .initial = 8, .window = 3});
  for (int step = 0; step < 3; ++step) scaler.update(false);
  EXPECT_EQ(scaler.scale(), 8);
  scaler.update(false);
  EXPECT_EQ(scaler.scale(), 16);
  for (int step = 0; step < 3; ++step) scaler.update(false);
  EXPECT_EQ(scaler.scale(), 32);
}

TEST(LossScaler, AnOverflowAtTheSmallestScaleEndsTheRun) {
  LossScaler scaler({.dynamic = true, .initial = 2, .min = 1, .hysteresis = 1});
  scaler.update(true);
  EXPECT_EQ(scaler.scale(), 1);
  try {
    scaler.update(true);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kNumeric);
  }
}

TEST(LossScaler, AFixedScaleStays) {
  LossScaler scaler({.initial = 128});
  for (const bool overflow : {true, true, false, false}) scaler.update(overflow);
  EXPECT_EQ(scaler.scale(), 128);
}

TEST(LossScaler, GoesOnWhereItsStateWasTaken) {
  const LossScaleConfig config{.dynamic = true, .initial = 64, .window = 2, .hysteresis = 3};
  LossScaler first(config), second(config);
  for (int step = 0; step < 7; ++step) first.update(step % 4 == 1);
  second.restore(first.state());
  for (int step = 7; step < 30; ++step) {
    first.update(step % 7 == 0);
    second.update(step % 7 == 0);
    ASSERT_EQ(first.scale(), second.scale());
  }
}

}  // namespace
}  // namespace hydrofoil::optim::loss_scaler_test
