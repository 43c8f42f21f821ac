// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/optim/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::optim {
namespace {

using Value = ScheduleValue;

constexpr double kOneCycleBeta2 = 0.99;

double ratio(int64_t a, int64_t b) {
  return static_cast<double>(a) / static_cast<double>(b);
}

// How far the warm-up has come, 0 to 1; the iteration lies within it.
double warmed(Ramp ramp, int64_t iteration, int64_t steps) {
  if (ramp == Ramp::kLinear) return ratio(iteration, steps);
  return std::log(static_cast<double>(iteration + 1)) / std::log(static_cast<double>(steps));
}

// log(1) would divide by zero.
int64_t at_least_two(int64_t steps) {
  return std::max<int64_t>(2, steps);
}

double half_cosine(double progress) {
  return (1 + std::cos(std::numbers::pi * std::min(1.0, progress))) / 2;
}

Value value_at(const ConstantLr&, double base_lr, int64_t) {
  return {.lr = base_lr};
}

Value value_at(const WarmupLr& c, double base_lr, int64_t iteration) {
  const int64_t steps = at_least_two(c.warmup_steps);
  const double max_lr = c.max_lr.value_or(base_lr);
  if (iteration < 0) return {.lr = c.min_lr};
  const double gamma = iteration < steps ? warmed(c.ramp, iteration, steps) : 1;
  return {.lr = c.min_lr + (max_lr - c.min_lr) * gamma};
}

Value value_at(const WarmupDecayLr& c, double, int64_t iteration) {
  const int64_t steps = at_least_two(c.warmup_steps);
  if (iteration < steps)
    return value_at(WarmupLr{c.min_lr, c.max_lr, c.warmup_steps, c.ramp}, c.max_lr, iteration);
  const double left = ratio(c.total_steps - iteration, std::max<int64_t>(1, c.total_steps - steps));
  return {.lr = c.min_lr + (c.max_lr - c.min_lr) * std::max(0.0, left)};
}

Value value_at(const WarmupCosineLr& c, double base_lr, int64_t iteration) {
  const int64_t steps = at_least_two(c.warmup_steps);
  if (iteration < 0) return {.lr = 0};
  if (iteration < steps) {
    const double gamma = warmed(c.ramp, iteration, steps);
    return {.lr = base_lr * (c.warmup_min_ratio + (1 - c.warmup_min_ratio) * gamma)};
  }
  const double progress = ratio(iteration - steps + 1, std::max<int64_t>(1, c.total_steps - steps));
  return {.lr = base_lr * (c.cos_min_ratio + (1 - c.cos_min_ratio) * half_cosine(progress))};
}

// Height within the cycle, 0 to 1 and back. Stairs round down, counted in whole iterations:
// rounding the quotient instead could drop a stair just where the peak is reached.
double cycle_height(const OneCycle& c, int64_t second_steps, int64_t batch) {
  const int64_t total = c.first_steps + second_steps;
  const int64_t within = batch % total;
  const bool rising = within <= c.first_steps;
  const int64_t climbed = rising ? within : total - within;
  const int64_t steps = rising ? c.first_steps : second_steps;
  const int64_t stairs = rising ? c.first_stairs : c.second_stairs.value_or(c.first_stairs);
  if (stairs <= 0) return ratio(climbed, steps);
  const int64_t stair = climbed * stairs / steps;
  return ratio(stair, stairs);
}

Value value_at(const OneCycle& c, double, int64_t iteration) {
  const int64_t second_steps = c.second_steps.value_or(c.first_steps);
  const int64_t total = c.first_steps + second_steps;
  const auto value = [&](double lr, double momentum) -> Value {
    if (!c.cycle_momentum) return {.lr = lr};
    return {.lr = lr, .betas = Value::Betas{momentum, kOneCycleBeta2}};
  };
  if (iteration < 0) return value(c.min_lr, c.min_momentum);
  if (iteration < total) {
    const double height = cycle_height(c, second_steps, iteration + 1);
    return value(c.min_lr + (c.max_lr - c.min_lr) * height,
                 c.max_momentum - (c.max_momentum - c.min_momentum) * height);
  }
  if (c.decay_steps == 0) return value(c.min_lr, c.max_momentum);
  const double decays = ratio(iteration - total + 1, c.decay_steps);
  return value(c.min_lr / (1 + c.decay_lr_rate * decays),
               c.max_momentum * (1 + c.decay_momentum_rate * decays));
}

Value value_at(const LrRangeTest& c, double, int64_t iteration) {
  const double position = ratio(iteration + 1, c.step_size);
  const double intervals = c.staircase ? std::floor(position) : position;
  return {.lr = c.min_lr * (1 + c.step_rate * intervals)};
}

Value value_at(const CosineLr& c, double base_lr, int64_t iteration) {
  const int64_t step = iteration + 2;  // the step that uses this value, from 1
  if (step <= c.warmup_steps) return {.lr = base_lr * ratio(step, c.warmup_steps)};
  const double progress =
      ratio(step - c.warmup_steps, std::max<int64_t>(1, c.total_steps - c.warmup_steps));
  return {.lr = base_lr * (c.min_ratio + (1 - c.min_ratio) * half_cosine(progress))};
}

// ---- what a configuration must hold

void require_positive(int64_t value, const char* what) {
  if (value > 0) return;
  throw Error(ExitCode::kConfig,
              std::string(what) + " is " + std::to_string(value) + ", expected a positive number",
              "scheduler.params");
}

void validate(const ConstantLr&) {}
void validate(const WarmupLr& c) {
  require_positive(c.warmup_steps, "warmup_num_steps");
}
void validate(const WarmupDecayLr& c) {
  require_positive(c.total_steps, "total_num_steps");
  require_positive(c.warmup_steps, "warmup_num_steps");
}
void validate(const WarmupCosineLr& c) {
  require_positive(c.total_steps, "total_num_steps");
  require_positive(c.warmup_steps, "warmup_num_steps");
}
void validate(const OneCycle& c) {
  require_positive(c.first_steps, "cycle_first_step_size");
  require_positive(c.second_steps.value_or(c.first_steps), "cycle_second_step_size");
}
void validate(const LrRangeTest& c) {
  require_positive(c.step_size, "lr_range_test_step_size");
}
void validate(const CosineLr& c) {
  require_positive(c.total_steps, "total_num_steps");
}

}  // namespace

ScheduleConfig schedule_named(std::string_view name) {
  const std::array<std::pair<std::string_view, ScheduleConfig>, 7> known{
      {{"Constant", ConstantLr{}},
       {"WarmupLR", WarmupLr{}},
       {"WarmupDecayLR", WarmupDecayLr{}},
       {"WarmupCosineLR", WarmupCosineLr{}},
       {"OneCycle", OneCycle{}},
       {"LRRangeTest", LrRangeTest{}},
       {"Cosine", CosineLr{}}}};
  std::string choices;
  for (const auto& [known_name, config] : known) {
    if (known_name == name) return config;
    choices += (choices.empty() ? "" : ", ") + std::string(known_name);
  }
  throw Error(ExitCode::kConfig, "unknown scheduler \"" + std::string(name) + "\"",
              "scheduler.type", "choose one of " + choices);
}

Schedule::Schedule(const ScheduleConfig& config, double base_lr)
    : config_(config), base_lr_(base_lr) {
  std::visit([](const auto& c) { validate(c); }, config_);
}

ScheduleValue Schedule::at(int64_t iteration) const {
  return std::visit([&](const auto& c) { return value_at(c, base_lr_, iteration); }, config_);
}

}  // namespace hydrofoil::optim
