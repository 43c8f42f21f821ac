// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/late_weights.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

namespace hydrofoil::models {
namespace {

thread_local LateWeights* current = nullptr;

}  // namespace

LateWeights::Scope::Scope(LateWeights* late) : before_(std::exchange(current, late)) {}

LateWeights::Scope::~Scope() {
  current = before_;
}

LateWeights* LateWeights::of_this_thread() {
  return current;
}

void LateWeights::finish() {
  for (auto& [weight, gradient] : std::exchange(waiting_, {})) {
    at::Tensor value;
    {
      at::NoGradGuard no_grad;
      value = std::exchange(gradient, {})().to(weight.scalar_type());  // and lets go of its factors
    }
    torch::autograd::backward({weight}, {value});
  }
}

}  // namespace hydrofoil::models
