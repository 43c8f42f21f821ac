// SPDX-License-Identifier: Apache-2.0
// Gradient clipping by the global norm: one number that every rank multiplies its gradients by.
#pragma once

namespace hydrofoil::optim {

// min(1, max_norm / (norm + 1e-6)); 1 when max_norm is 0 (off). `norm` is that of the true gradient
// (loss scale and divisor taken out). NaN for a NaN, 0 for Inf: such a step is to be skipped.
inline double clip_coefficient(double norm, double max_norm) {
  if (max_norm <= 0) return 1;
  const double coefficient = max_norm / (norm + 1e-6);
  return coefficient > 1 ? 1 : coefficient;
}

}  // namespace hydrofoil::optim
