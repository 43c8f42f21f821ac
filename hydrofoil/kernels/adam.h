// SPDX-License-Identifier: Apache-2.0
// Adam and AdamW on flat fp32 spans, fused into one pass.
//
//   g = grad_scale * grad (+ weight_decay * p, not decoupled)
//   m = beta1 m + (1 - beta1) g
//   v = beta2 v + (1 - beta2) g^2
//   p = p - lr weight_decay p (decoupled) - lr / correction1 * m / (sqrt(v) / sqrt(correction2) +
//   eps)
//
// The same bits on every CPU, with any number of threads, and however the span is cut.
// Memory traffic: 16 bytes read and 12 written an element.
#pragma once

#include <span>

#include "hydrofoil/kernels/low_precision.h"

namespace hydrofoil::kernels {

struct AdamScalars {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled = true;  // AdamW; else the decay is an L2 term of the gradient
  double bias_correction1 = 1, bias_correction2 = 1;  // 1 - beta^t, or 1 for none
  float grad_scale = 1;                               // 1 / divisor * clip coefficient / loss scale
};

// All of one size; none overlaps another.
struct AdamSpans {
  std::span<float> param;
  std::span<const float> grad;
  std::span<float> exp_avg, exp_avg_sq;
  LowPrecisionCopy low;
};

// std::logic_error when sizes differ.
void adam_step(const AdamSpans& spans, const AdamScalars& scalars);

}  // namespace hydrofoil::kernels
