// SPDX-License-Identifier: Apache-2.0
// What the fused optimizer kernels take: pointers to the first element and factors already in fp32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

enum class LowFormat : uint8_t { kNone, kBF16, kF16 };

struct AdamArgs {
  float* param;
  const float* grad;
  float* exp_avg;
  float* exp_avg_sq;
  uint16_t* low;  // the updated parameter once more, in low_format
  LowFormat low_format;
  float grad_scale, beta1, one_minus_beta1, beta2, one_minus_beta2;
  float inv_sqrt_correction2, eps;
  float step_size;  // lr / (1 - beta1^t)
  float decay;      // lr * weight_decay when decoupled, else 0
  float l2;         // weight_decay when not decoupled, else 0
};

struct SgdArgs {
  float* param;
  const float* grad;
  float* momentum_buffer;  // null without momentum
  uint16_t* low;
  LowFormat low_format;
  float grad_scale, lr, momentum, weight_decay;
  bool nesterov;
};

HYDROFOIL_DECLARE_TIERS(
    // Elements [begin, end).
    void adam(const AdamArgs& args, size_t begin, size_t end);
    void sgd(const SgdArgs& args, size_t begin, size_t end);)

}  // namespace hydrofoil::kernels
