// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/optim/loss_scaler.h"

#include <algorithm>
#include <string>

#include "hydrofoil/core/error.h"

namespace hydrofoil::optim {

LossScaler::LossScaler(const LossScaleConfig& config)
    : config_(config), state_{.scale = config.initial, .hysteresis = config.hysteresis} {}

void LossScaler::update(bool overflow) {
  if (!config_.dynamic) return;
  overflow ? lower() : grow();
  ++state_.iteration;
}

void LossScaler::lower() {
  if (config_.hysteresis > 1 && state_.hysteresis > 1) {
    --state_.hysteresis;
  } else if (state_.scale <= config_.min) {
    throw Error(
        ExitCode::kNumeric,
        "the gradient overflowed at the smallest loss scale, " + std::to_string(config_.min),
        "fp16.min_loss_scale",
        "lower the learning rate or look at the data; bf16 needs no loss scale");
  } else {
    state_.scale = std::max(state_.scale / 2, config_.min);
  }
  state_.last_overflow = state_.iteration;
}

void LossScaler::grow() {
  if (config_.consecutive_hysteresis) state_.hysteresis = config_.hysteresis;
  const int64_t stable = state_.iteration - state_.last_overflow - 1;
  if (stable <= 0 || stable % config_.window != 0) return;
  state_.hysteresis = config_.hysteresis;
  state_.scale *= 2;
}

}  // namespace hydrofoil::optim
