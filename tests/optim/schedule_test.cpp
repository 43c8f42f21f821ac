// SPDX-License-Identifier: Apache-2.0
// Golden tables of iterations -1 to 18. They were written by a separate program from the formulas
// of the specification, with the arithmetic as DeepSpeed does it.
#include "hydrofoil/optim/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "hydrofoil/core/error.h"

namespace hydrofoil::optim::schedule_test {
namespace {

using Rows = std::array<double, 20>;

void expect_lr(const ScheduleConfig& config, double base_lr, const Rows& want) {
  const Schedule schedule(config, base_lr);
  for (int i = 0; i < 20; ++i)
    EXPECT_NEAR(schedule.at(i - 1).lr, want[static_cast<size_t>(i)], 1e-14)
        << "iteration " << i - 1;
}

void expect_momentum(const ScheduleConfig& config, const Rows& want) {
  const Schedule schedule(config, 1);
  for (int i = 0; i < 20; ++i) {
    const ScheduleValue value = schedule.at(i - 1);
    ASSERT_TRUE(value.betas);
    EXPECT_NEAR(value.betas->beta1, want[static_cast<size_t>(i)], 1e-14) << "iteration " << i - 1;
    EXPECT_EQ(value.betas->beta2, 0.99);
  }
}

TEST(Schedule, ConstantIsTheGroupsOwn) {
  const Schedule schedule(ConstantLr{}, 0.3);
  EXPECT_EQ(schedule.at(-1).lr, 0.3);
  EXPECT_EQ(schedule.at(1000000).lr, 0.3);
  EXPECT_FALSE(schedule.at(5).betas);
}

TEST(Schedule, WarmupLr) {
  expect_lr(WarmupLr{.min_lr = 0.01, .max_lr = 0.1, .warmup_steps = 10}, 7,
            {0.01,
             0.01,
             0.03709269960975831,
             0.05294091292476963,
             0.06418539921951662,
             0.0729073003902417,
             0.08003361253452793,
             0.08605882360128311,
             0.09127809882927491,
             0.09588182584953925,
             0.1,
             0.1,
             0.1,
             0.1,
             0.1,
             0.1,
             0.1,
             0.1,
             0.1,
             0.1});
}

TEST(Schedule, WarmupLrRisesToTheGroupsOwnWhenNoMaximumIsGiven) {
  expect_lr(WarmupLr{.warmup_steps = 7, .ramp = Ramp::kLinear}, 0.4,
            {0.0,
             0.0,
             0.05714285714285714,
             0.1142857142857143,
             0.1714285714285714,
             0.2285714285714286,
             0.2857142857142858,
             0.3428571428571429,
             0.4,
             0.4,
             0.4,
             0.4,
             0.4,
             0.4,
             0.4,
             0.4,
             0.4,
             0.4,
             0.4,
             0.4});
}

TEST(Schedule, WarmupLrTakesOneStepForTwo) {
  const WarmupLr one{.max_lr = 0.1, .warmup_steps = 1}, two{.max_lr = 0.1, .warmup_steps = 2};
  for (int i = -1; i < 5; ++i) EXPECT_EQ(Schedule(one, 1).at(i).lr, Schedule(two, 1).at(i).lr) << i;
}

TEST(Schedule, WarmupDecayLr) {
  expect_lr(WarmupDecayLr{.total_steps = 16,
                          .min_lr = 0.001,
                          .max_lr = 0.01,
                          .warmup_steps = 6,
                          .ramp = Ramp::kLinear},
            7,
            {0.001,
             0.001,
             0.0025,
             0.004,
             0.005500000000000001,
             0.007,
             0.0085,
             0.01,
             0.0091,
             0.008200000000000002,
             0.0073,
             0.0064,
             0.005500000000000001,
             0.004600000000000001,
             0.0037,
             0.0028,
             0.0019,
             0.001,
             0.001,
             0.001});
  expect_lr(WarmupDecayLr{.total_steps = 11, .max_lr = 0.01, .warmup_steps = 6}, 7,
            {0.0,
             0.0,
             0.003868528072345416,
             0.006131471927654585,
             0.007737056144690831,
             0.008982444017039272,
             0.01,
             0.01,
             0.008,
             0.006,
             0.004,
             0.002,
             0.0,
             0.0,
             0.0,
             0.0,
             0.0,
             0.0,
             0.0,
             0.0});
}

TEST(Schedule, WarmupCosineLr) {
  expect_lr(
      WarmupCosineLr{
          .total_steps = 15, .warmup_min_ratio = 0.1, .warmup_steps = 5, .cos_min_ratio = 0.05},
      0.4,
      {0.0,
       0.04000000000000001,
       0.1950435609064215,
       0.2857382300149547,
       0.350087121812843,
       0.4,
       0.3907007380960792,
       0.36371322893124,
       0.3216791979355699,
       0.2687132289312401,
       0.21,
       0.15128677106876,
       0.09832080206443013,
       0.05628677106876001,
       0.02929926190392083,
       0.02,
       0.02,
       0.02,
       0.02,
       0.02});
  expect_lr(WarmupCosineLr{.total_steps = 17, .warmup_steps = 8, .ramp = Ramp::kLinear}, 0.4,
            {0.0,
             0.0,
             0.05,
             0.1,
             0.15,
             0.2,
             0.25,
             0.3,
             0.35,
             0.387939730304766,
             0.3532135677349332,
             0.30001,
             0.2347461625698328,
             0.1652938374301673,
             0.10003,
             0.0468264322650668,
             0.01210026969523405,
             4e-05,
             4e-05,
             4e-05});
}

TEST(Schedule, WarmupLongerThanTheRunStaysAtTheFloorAfterwards) {
  const Schedule cosine(WarmupCosineLr{.total_steps = 3, .warmup_steps = 5}, 1);
  const Schedule decay(WarmupDecayLr{.total_steps = 3, .max_lr = 1, .warmup_steps = 5}, 1);
  for (int i = 5; i < 10; ++i) {
    EXPECT_NEAR(cosine.at(i).lr, 1e-4, 1e-15);
    EXPECT_EQ(decay.at(i).lr, 0);
  }
}

constexpr OneCycle kCycle{.min_lr = 0.01,
                          .max_lr = 0.1,
                          .decay_lr_rate = 0.5,
                          .first_steps = 5,
                          .second_steps = 8,
                          .decay_steps = 2,
                          .decay_momentum_rate = 0.01};
constexpr OneCycle kStairs{.min_lr = 0.01,
                           .max_lr = 0.1,
                           .first_steps = 7,
                           .first_stairs = 3,
                           .min_momentum = 0.85,
                           .max_momentum = 0.95};

TEST(Schedule, OneCycleRisesFallsAndDecays) {
  expect_lr(kCycle, 7,
            {0.01,
             0.02799999999999999,
             0.04599999999999998,
             0.06400000000000002,
             0.082,
             0.09999999999999999,
             0.08874999999999998,
             0.07750000000000003,
             0.06624999999999999,
             0.05500000000000001,
             0.04375000000000002,
             0.03249999999999999,
             0.02124999999999999,
             0.01,
             0.008,
             0.006666666666666667,
             0.005714285714285714,
             0.005,
             0.004444444444444444,
             0.004});
}

TEST(Schedule, OneCycleMovesMomentumTheOtherWay) {
  expect_momentum(kCycle, {0.8,
                           0.88,
                           0.8600000000000001,
                           0.8400000000000001,
                           0.8200000000000001,
                           0.8,
                           0.8125000000000001,
                           0.825,
                           0.8375,
                           0.8500000000000001,
                           0.8625,
                           0.875,
                           0.8875000000000001,
                           0.9,
                           0.9045,
                           0.909,
                           0.9135,
                           0.918,
                           0.9225,
                           0.927});
  OneCycle without = kCycle;
  without.cycle_momentum = false;
  EXPECT_FALSE(Schedule(without, 1).at(3).betas);
}

TEST(Schedule, OneCycleClimbsStairsAndReachesThePeak) {
  expect_lr(kStairs, 7, {0.01, 0.01, 0.01, 0.04, 0.04, 0.07, 0.07, 0.1,  0.07, 0.07,
                         0.04, 0.04, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01});
  expect_momentum(kStairs, {0.85,
                            0.95,
                            0.95,
                            0.9166666666666666,
                            0.9166666666666666,
                            0.8833333333333333,
                            0.8833333333333333,
                            0.85,
                            0.8833333333333333,
                            0.8833333333333333,
                            0.9166666666666666,
                            0.9166666666666666,
                            0.95,
                            0.95,
                            0.95,
                            0.95,
                            0.95,
                            0.95,
                            0.95,
                            0.95});
}

TEST(Schedule, LrRangeTestGrows) {
  expect_lr(LrRangeTest{.step_size = 5, .step_rate = 0.5}, 7,
            {0.001, 0.0011, 0.0012, 0.0013, 0.0014, 0.0015, 0.0016, 0.0017, 0.0018, 0.0019,
             0.002, 0.0021, 0.0022, 0.0023, 0.0024, 0.0025, 0.0026, 0.0027, 0.0028, 0.0029});
  expect_lr(LrRangeTest{.step_size = 5, .step_rate = 0.5, .staircase = true}, 7,
            {0.001, 0.001, 0.001, 0.001, 0.001, 0.0015, 0.0015, 0.0015, 0.0015, 0.0015,
             0.002, 0.002, 0.002, 0.002, 0.002, 0.0025, 0.0025, 0.0025, 0.0025, 0.0025});
}

TEST(Schedule, CosineWarmsUpFromTheFirstStepAndEndsAtTheMinimum) {
  expect_lr(CosineLr{.total_steps = 14, .warmup_steps = 4, .min_ratio = 0.1}, 0.4,
            {0.1,
             0.2,
             0.3,
             0.4,
             0.3911901729331277,
             0.3656230589874905,
             0.3258013454126452,
             0.2756230589874906,
             0.22,
             0.1643769410125095,
             0.1141986545873549,
             0.0743769410125095,
             0.04880982706687237,
             0.04000000000000001,
             0.04000000000000001,
             0.04000000000000001,
             0.04000000000000001,
             0.04000000000000001,
             0.04000000000000001,
             0.04000000000000001});
}

TEST(Schedule, NamesAreDeepSpeeds) {
  EXPECT_TRUE(std::holds_alternative<WarmupLr>(schedule_named("WarmupLR")));
  EXPECT_TRUE(std::holds_alternative<WarmupDecayLr>(schedule_named("WarmupDecayLR")));
  EXPECT_TRUE(std::holds_alternative<WarmupCosineLr>(schedule_named("WarmupCosineLR")));
  EXPECT_TRUE(std::holds_alternative<OneCycle>(schedule_named("OneCycle")));
  EXPECT_TRUE(std::holds_alternative<LrRangeTest>(schedule_named("LRRangeTest")));
  EXPECT_TRUE(std::holds_alternative<CosineLr>(schedule_named("Cosine")));
  EXPECT_TRUE(std::holds_alternative<ConstantLr>(schedule_named("Constant")));
}

TEST(Schedule, UnknownNameListsTheChoices) {
  try {
    schedule_named("Linear");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kConfig);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("\"Linear\""));
    EXPECT_THAT(error.hint(), ::testing::HasSubstr("WarmupLR, WarmupDecayLR"));
  }
}

TEST(Schedule, RefusesCountsThatAreNotPositive) {
  EXPECT_THROW(Schedule(WarmupLr{.warmup_steps = 0}, 1), Error);
  EXPECT_THROW(Schedule(WarmupDecayLr{}, 1), Error);
  EXPECT_THROW(Schedule(WarmupCosineLr{}, 1), Error);
  EXPECT_THROW(Schedule(OneCycle{.first_steps = 0}, 1), Error);
  EXPECT_THROW(Schedule(OneCycle{.second_steps = -1}, 1), Error);
  EXPECT_THROW(Schedule(LrRangeTest{.step_size = 0}, 1), Error);
  EXPECT_THROW(Schedule(CosineLr{}, 1), Error);
}

}  // namespace
}  // namespace hydrofoil::optim::schedule_test
