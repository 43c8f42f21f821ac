// SPDX-License-Identifier: Apache-2.0
// Learning-rate schedules: DeepSpeed's five by its names and formulas, and two plain ones.
//
//   const Schedule schedule(WarmupCosineLr{.total_steps = 1000}, base_lr);
//   schedule.at(iteration).lr
//
// A schedule is a pure function of the iteration, so there is no state to save but that number.
// Iterations count as DeepSpeed's last_batch_iteration does: -1 before the first optimizer step,
// plus one after each step that was not skipped. The first step thus uses at(-1), the second at(0).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

namespace hydrofoil::optim {

struct ScheduleValue {
  struct Betas {
    double beta1, beta2;
  };
  double lr = 0;
  std::optional<Betas> betas = std::nullopt;  // to be used instead of the group's; OneCycle only
};

enum class Ramp : uint8_t { kLog, kLinear };

// The group's own lr throughout.
struct ConstantLr {};

// From min_lr to max_lr (the group's lr when not given), then constant.
struct WarmupLr {
  double min_lr = 0;
  std::optional<double> max_lr = std::nullopt;
  int64_t warmup_steps = 1000;  // 1 counts as 2
  Ramp ramp = Ramp::kLog;
};

// WarmupLr, then linearly to 0 at total_steps.
struct WarmupDecayLr {
  int64_t total_steps = 0;
  double min_lr = 0, max_lr = 0.001;
  int64_t warmup_steps = 1000;
  Ramp ramp = Ramp::kLog;
};

// Ratios of the group's lr. 0 before the first step, whatever warmup_min_ratio is, as DeepSpeed.
struct WarmupCosineLr {
  int64_t total_steps = 0;
  double warmup_min_ratio = 0;
  int64_t warmup_steps = 1000;
  double cos_min_ratio = 1e-4;
  Ramp ramp = Ramp::kLog;
};

// Up in first_steps, down in second_steps, then decaying; beta1 moves the other way, beta2 is 0.99.
// Before the first step beta1 is min_momentum, as DeepSpeed.
struct OneCycle {
  double min_lr = 0, max_lr = 0;
  double decay_lr_rate = 0;
  int64_t first_steps = 2000;
  std::optional<int64_t> second_steps = std::nullopt;   // first_steps
  int64_t first_stairs = 0;                             // 0: continuous
  std::optional<int64_t> second_stairs = std::nullopt;  // first_stairs
  int64_t decay_steps = 0;                              // 0: no decay of either
  bool cycle_momentum = true;
  double min_momentum = 0.8, max_momentum = 0.9;
  double decay_momentum_rate = 0;
};

// Grows without end, to find where training diverges.
struct LrRangeTest {
  double min_lr = 1e-3;
  int64_t step_size = 2000;
  double step_rate = 1.0;
  bool staircase = false;
};

// Linear warm-up that reaches the group's lr at step warmup_steps (the first step already moves),
// then half a cosine down to min_ratio of it at step total_steps, constant from there.
struct CosineLr {
  int64_t total_steps = 0;
  int64_t warmup_steps = 0;
  double min_ratio = 0.1;
};

using ScheduleConfig = std::variant<ConstantLr, WarmupLr, WarmupDecayLr, WarmupCosineLr, OneCycle,
                                    LrRangeTest, CosineLr>;

// Defaults of "Constant", "WarmupLR", "WarmupDecayLR", "WarmupCosineLR", "OneCycle", "LRRangeTest",
// "Cosine". Error(kConfig) that lists them for any other name.
ScheduleConfig schedule_named(std::string_view name);

class Schedule {
 public:
  // base_lr: the parameter group's own. Error(kConfig) for counts that are not positive and for a
  // missing total.
  Schedule(const ScheduleConfig& config, double base_lr);
  ScheduleValue at(int64_t iteration) const;  // from -1

 private:
  ScheduleConfig config_;
  double base_lr_;
};

}  // namespace hydrofoil::optim
