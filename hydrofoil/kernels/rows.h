// SPDX-License-Identifier: Apache-2.0
// What a transformer does to one token's row between products: norms, rotary positions,
// activations, and what training needs of their derivatives. Rows of any length; the same bits on
// every CPU. Single-threaded.
#pragma once

#include <cstddef>
#include <span>

#include "hydrofoil/kernels/activation.h"

namespace hydrofoil::kernels {

// out = x / sqrt(mean(x^2) + epsilon) * weight. out may be x.
void rms_norm(std::span<const float> x, const float* weight, float epsilon, float* out);
// With f = 1 / sqrt(mean(x^2) + epsilon) and d = grad * weight:
//   grad_x = f (d - x f^2 mean(d x)),   grad_weight += grad x f
void rms_norm_backward(std::span<const float> x, const float* weight, const float* grad,
                       float epsilon, float* grad_x, float* grad_weight);
// out = (x - mean) / sqrt(variance + epsilon) * weight + bias. bias may be null, out may be x.
void layer_norm(std::span<const float> x, const float* weight, const float* bias, float epsilon,
                float* out);
// With y = (x - mean) / sqrt(variance + epsilon), f its factor and d = grad * weight:
//   grad_x = f (d - mean(d) - y mean(d y)),   grad_weight += grad y,   grad_bias += grad
// grad_bias may be null.
void layer_norm_backward(std::span<const float> x, const float* weight, const float* grad,
                         float epsilon, float* grad_x, float* grad_weight, float* grad_bias);
// Turns pairs (x[i], x[i + pairs]), or of neighbours (x[2 i], x[2 i + 1]), by the angles given.
void rotate(float* x, const float* cosines, const float* sines, size_t pairs);
void rotate_neighbours(float* x, const float* cosines, const float* sines, size_t pairs);
// out may be x; grad_x = grad times the activation's slope at x, and may be grad.
void activate(Activation activation, std::span<const float> x, float* out);
void activate_backward(Activation activation, std::span<const float> x, const float* grad,
                       float* grad_x);
// out = activation(gate) * up, and may be either of them; and the gradients of both from that of
// out.
void gated(Activation activation, std::span<const float> gate, const float* up, float* out);
void gated_backward(Activation activation, std::span<const float> gate, const float* up,
                    const float* grad, float* grad_gate, float* grad_up);
void softcap(std::span<float> x, float cap);  // in place: cap * tanh(x / cap)
// ln of the sum of e^x: what logits have too much to be logarithms of probabilities.
double log_total(std::span<const float> x);

}  // namespace hydrofoil::kernels
