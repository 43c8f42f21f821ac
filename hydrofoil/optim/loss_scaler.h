// SPDX-License-Identifier: Apache-2.0
// The scale of a 16-bit loss: gradients that would round to zero are lifted, and a step whose
// gradients are not finite is skipped and lowers it. DeepSpeed's algorithm and defaults
// (runtime/fp16/loss_scaler.py), at every ZeRO stage alike.
//
//   LossScaler scaler({.dynamic = true});
//   (loss * scaler.scale()).backward();     // the scale of a step is that of its backward
//   scaler.update(/*overflow=*/!finite);    // once a step, on all ranks alike
#pragma once

#include <cstdint>

namespace hydrofoil::optim {

struct LossScaleConfig {
  bool dynamic = false;
  double initial = 1;  // for good, when not dynamic
  double min = 1;
  int64_t window = 1000;                // clean steps after which a dynamic scale doubles
  int64_t hysteresis = 2;               // overflows to take before it halves
  bool consecutive_hysteresis = false;  // a clean step restores the hysteresis at once
};

class LossScaler {
 public:
  struct State {  // what a checkpoint keeps
    double scale = 1;
    int64_t iteration = 0, last_overflow = -1, hysteresis = 1;
  };

  explicit LossScaler(const LossScaleConfig& config);
  double scale() const { return state_.scale; }
  bool dynamic() const { return config_.dynamic; }
  // Error(kNumeric) for an overflow at the smallest dynamic scale.
  void update(bool overflow);

  const State& state() const { return state_; }
  void restore(const State& state) { state_ = state; }

 private:
  void lower();
  void grow();

  LossScaleConfig config_;
  State state_;
};

}  // namespace hydrofoil::optim
