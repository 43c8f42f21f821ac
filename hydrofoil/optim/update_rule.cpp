// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/optim/update_rule.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <stdexcept>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/kernels/adam.h"
#include "hydrofoil/kernels/sgd.h"

namespace hydrofoil::optim {
namespace {

constexpr std::array<std::string_view, 2> kAdamStates{"exp_avg", "exp_avg_sq"};
constexpr std::array<std::string_view, 1> kSgdStates{"momentum_buffer"};

void require_states(const Chunk& chunk, size_t expected, std::string_view rule) {
  if (chunk.states.size() != expected)
    throw std::logic_error(std::string(rule) + ": " + std::to_string(chunk.states.size()) +
                           " states, expected " + std::to_string(expected));
}

class Adam final : public UpdateRule {
 public:
  std::span<const std::string_view> state_names() const override { return kAdamStates; }

  void update(const Chunk& chunk, const Hyperparameters& group, int64_t step,
              float grad_scale) const override {
    require_states(chunk, 2, "adam");
    if (step < 1) throw std::logic_error("adam: step " + std::to_string(step) + ", expected >= 1");
    const auto correction = [&](double beta) {
      return group.bias_correction ? 1 - std::pow(beta, static_cast<double>(step)) : 1;
    };
    kernels::adam_step({.param = chunk.param,
                        .grad = chunk.grad,
                        .exp_avg = chunk.states[0],
                        .exp_avg_sq = chunk.states[1],
                        .low = chunk.low},
                       {.lr = group.lr,
                        .beta1 = group.beta1,
                        .beta2 = group.beta2,
                        .eps = group.eps,
                        .weight_decay = group.weight_decay,
                        .decoupled = group.adam_w,
                        .bias_correction1 = correction(group.beta1),
                        .bias_correction2 = correction(group.beta2),
                        .grad_scale = grad_scale});
  }
};

class Sgd final : public UpdateRule {
 public:
  explicit Sgd(bool has_momentum) : states_(has_momentum ? 1 : 0) {}

  std::span<const std::string_view> state_names() const override {
    return std::span(kSgdStates).first(states_);
  }

  void update(const Chunk& chunk, const Hyperparameters& group, int64_t,
              float grad_scale) const override {
    require_states(chunk, states_, "sgd");
    kernels::sgd_step({.param = chunk.param,
                       .grad = chunk.grad,
                       .momentum_buffer = states_ ? chunk.states[0] : std::span<float>(),
                       .low = chunk.low},
                      {.lr = group.lr,
                       .momentum = group.momentum,
                       .weight_decay = group.weight_decay,
                       .nesterov = group.nesterov,
                       .grad_scale = grad_scale});
  }

 private:
  const size_t states_;
};

}  // namespace

std::unique_ptr<UpdateRule> make_rule(std::string_view name,
                                      std::span<const Hyperparameters> groups) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower == "adam" || lower == "adamw") return std::make_unique<Adam>();
  if (lower == "sgd")
    return std::make_unique<Sgd>(std::ranges::any_of(
        groups, [](const Hyperparameters& group) { return group.momentum != 0; }));
  throw Error(ExitCode::kConfig, "unknown optimizer \"" + std::string(name) + "\"", {},
              "choose one of Adam, AdamW, SGD");
}

}  // namespace hydrofoil::optim
