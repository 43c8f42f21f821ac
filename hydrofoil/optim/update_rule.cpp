// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/optim/update_rule.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::optim {
namespace {

constexpr std::array<std::string_view, 2> kMoments{"exp_avg", "exp_avg_sq"};
constexpr std::array<std::string_view, 1> kMomentum{"exp_avg"}, kVelocity{"momentum_buffer"},
    kSum{"sum"};

double correction(const Hyperparameters& group, double beta, const Update& update) {
  if (update.count < 1)
    throw std::logic_error("update " + std::to_string(update.count) +
                           " of a tensor, expected >= 1");
  return group.bias_correction ? 1 - std::pow(beta, static_cast<double>(update.count)) : 1;
}

void adam(const UpdateArrays& arrays, const Hyperparameters& group, const Update& update) {
  kernels::adam_step(arrays, {.lr = group.lr,
                              .beta1 = group.beta1,
                              .beta2 = group.beta2,
                              .eps = group.eps,
                              .weight_decay = group.weight_decay,
                              .decoupled = group.adam_w,
                              .bias_correction1 = correction(group, group.beta1, update),
                              .bias_correction2 = correction(group, group.beta2, update)});
}

void sgd(const UpdateArrays& arrays, const Hyperparameters& group, const Update&) {
  kernels::sgd_step(arrays, {.lr = group.lr,
                             .momentum = group.momentum,
                             .weight_decay = group.weight_decay,
                             .nesterov = group.nesterov});
}

void lion(const UpdateArrays& arrays, const Hyperparameters& group, const Update&) {
  kernels::lion_step(arrays, {.lr = group.lr,
                              .beta1 = group.beta1,
                              .beta2 = group.beta2,
                              .weight_decay = group.weight_decay});
}

void adagrad(const UpdateArrays& arrays, const Hyperparameters& group, const Update& update) {
  const double before = static_cast<double>(update.count - 1);
  kernels::adagrad_step(arrays, {.lr = group.lr / (1 + before * group.lr_decay),
                                 .eps = group.eps,
                                 .weight_decay = group.weight_decay,
                                 .initial_sum = update.count == 1 ? group.initial_sum : 0});
}

kernels::LambScalars lamb_scalars(const Hyperparameters& group, const Update& update) {
  return {.lr = group.lr,
          .beta1 = group.beta1,
          .beta2 = group.beta2,
          .eps = group.eps,
          .weight_decay = group.weight_decay,
          .eps_inside_sqrt = group.eps_inside_sqrt,
          .bias_correction1 = correction(group, group.beta1, update),
          .bias_correction2 = correction(group, group.beta2, update)};
}

void lamb_measure(const UpdateArrays& arrays, const Hyperparameters& group, const Update& update,
                  size_t flat_offset, LambNorms& norms) {
  kernels::lamb_moments(arrays, lamb_scalars(group, update), flat_offset, norms);
}

void lamb(const UpdateArrays& arrays, const Hyperparameters& group, const Update& update) {
  kernels::lamb_step(arrays, lamb_scalars(group, update), update.trust_ratio);
}

// By the names of configurations.
constexpr std::pair<std::string_view, UpdateRule> kRules[] = {
    {"Adagrad", {"adagrad", kSum, adagrad}}, {"Adam", {"adamw", kMoments, adam}},
    {"AdamW", {"adamw", kMoments, adam}},    {"Lamb", {"lamb", kMoments, lamb, lamb_measure}},
    {"Lion", {"lion", kMomentum, lion}},     {"SGD", {"sgd", kVelocity, sgd}},
};

bool same_in_any_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, {}, [](unsigned char c) { return std::tolower(c); },
      [](unsigned char c) { return std::tolower(c); });
}

}  // namespace

double trust_ratio(const LambNorms& norms, const Hyperparameters& group) {
  const double parameter = norms.parameter.value(), direction = norms.direction.value();
  if (parameter == 0 || direction == 0) return 1;
  return std::clamp(std::sqrt(parameter / direction), group.min_coeff, group.max_coeff);
}

UpdateRule make_rule(std::string_view name, std::span<const Hyperparameters> groups) {
  std::string choices;
  for (const auto& [known, rule] : kRules) {
    choices += (choices.empty() ? "" : ", ") + std::string(known);
    if (!same_in_any_case(name, known)) continue;
    const auto moves = [](const Hyperparameters& group) { return group.momentum != 0; };
    UpdateRule result = rule;
    if (rule.update == sgd && std::ranges::none_of(groups, moves)) result.states = {};
    return result;
  }
  throw Error(ExitCode::kConfig, "unknown optimizer \"" + std::string(name) + "\"", {},
              "choose one of " + choices);
}

}  // namespace hydrofoil::optim
