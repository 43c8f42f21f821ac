// SPDX-License-Identifier: Apache-2.0
// Stochastic gradient descent on flat fp32 spans, fused into one pass.
//
//   d = grad_scale * grad + weight_decay * p
//   b = momentum b + d                          (b starts as zeros; only with momentum)
//   p = p - lr * (nesterov ? d + momentum b : b)
//
// The same bits on every CPU, with any number of threads, and however the span is cut.
#pragma once

#include <span>

#include "hydrofoil/kernels/low_precision.h"

namespace hydrofoil::kernels {

struct SgdScalars {
  double lr = 1e-3, momentum = 0, weight_decay = 0;
  bool nesterov = false;
  float grad_scale = 1;
};

// All of one size; none overlaps another. momentum_buffer may be empty when momentum is 0.
struct SgdSpans {
  std::span<float> param;
  std::span<const float> grad;
  std::span<float> momentum_buffer;
  LowPrecisionCopy low;
};

// std::logic_error when sizes differ.
void sgd_step(const SgdSpans& spans, const SgdScalars& scalars);

}  // namespace hydrofoil::kernels
