// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/rows.h"

#include <algorithm>
#include <cmath>

#include "hydrofoil/kernels/isa.h"
#include "hydrofoil/kernels/rows_tiers.h"

namespace hydrofoil::kernels {

void rms_norm(std::span<const float> x, const float* weight, float epsilon, float* out) {
  HYDROFOIL_PICK_TIER(rms_norm)(x.data(), weight, x.size(), epsilon, out);
}
void rms_norm_backward(std::span<const float> x, const float* weight, const float* grad,
                       float epsilon, float* grad_x, float* grad_weight) {
  HYDROFOIL_PICK_TIER(rms_norm_backward)
  (x.data(), weight, grad, x.size(), epsilon, grad_x, grad_weight);
}
void layer_norm(std::span<const float> x, const float* weight, const float* bias, float epsilon,
                float* out) {
  HYDROFOIL_PICK_TIER(layer_norm)(x.data(), weight, bias, x.size(), epsilon, out);
}
void layer_norm_backward(std::span<const float> x, const float* weight, const float* grad,
                         float epsilon, float* grad_x, float* grad_weight, float* grad_bias) {
  HYDROFOIL_PICK_TIER(layer_norm_backward)
  (x.data(), weight, grad, x.size(), epsilon, grad_x, grad_weight, grad_bias);
}
void rotate(float* x, const float* cosines, const float* sines, size_t pairs) {
  HYDROFOIL_PICK_TIER(rotate)(x, cosines, sines, pairs);
}
void rotate_neighbours(float* x, const float* cosines, const float* sines, size_t pairs) {
  HYDROFOIL_PICK_TIER(rotate_neighbours)(x, cosines, sines, pairs);
}
void activate(Activation activation, std::span<const float> x, float* out) {
  HYDROFOIL_PICK_TIER(activate)(activation, x.data(), x.size(), out);
}
void activate_backward(Activation activation, std::span<const float> x, const float* grad,
                       float* grad_x) {
  HYDROFOIL_PICK_TIER(activate_backward)(activation, x.data(), grad, x.size(), grad_x);
}
void gated(Activation activation, std::span<const float> gate, const float* up, float* out) {
  HYDROFOIL_PICK_TIER(gated)(activation, gate.data(), up, gate.size(), out);
}
void gated_backward(Activation activation, std::span<const float> gate, const float* up,
                    const float* grad, float* grad_gate, float* grad_up) {
  HYDROFOIL_PICK_TIER(gated_backward)
  (activation, gate.data(), up, grad, gate.size(), grad_gate, grad_up);
}
void softcap(std::span<float> x, float cap) {
  HYDROFOIL_PICK_TIER(softcap)(x.data(), x.size(), cap);
}
double log_total(std::span<const float> x) {
  const float largest = *std::ranges::max_element(x);
  return largest + std::log(HYDROFOIL_PICK_TIER(exponentials)(x.data(), x.size(), largest));
}

}  // namespace hydrofoil::kernels
