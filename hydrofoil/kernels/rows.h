// SPDX-License-Identifier: Apache-2.0
// What a transformer does to one token's row between products: norms, rotary positions,
// activations, and what training needs of their derivatives. Rows of any length; the same bits on
// every CPU. Single-threaded.
#pragma once

#include <cstddef>
#include <span>

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
// Turns pairs (x[i], x[i + pairs]), or of neighbours (x[2 i], x[2 i + 1]), by the angles given.
void rotate(float* x, const float* cosines, const float* sines, size_t pairs);
void rotate_neighbours(float* x, const float* cosines, const float* sines, size_t pairs);
// In place.
void silu(std::span<float> x);       // x / (1 + e^-x)
void gelu(std::span<float> x);       // x times the normal distribution's share below x
void gelu_tanh(std::span<float> x);  // its approximation by tanh
void relu(std::span<float> x);
void softcap(std::span<float> x, float cap);  // cap * tanh(x / cap)
// out = silu(gate) * up, or gelu_tanh(gate) * up; and the gradients of both from that of out.
void silu_gated(std::span<const float> gate, const float* up, float* out);
void gelu_tanh_gated(std::span<const float> gate, const float* up, float* out);
void silu_gated_backward(std::span<const float> gate, const float* up, const float* grad,
                         float* grad_gate, float* grad_up);
void gelu_tanh_gated_backward(std::span<const float> gate, const float* up, const float* grad,
                              float* grad_gate, float* grad_up);
void multiply_by(std::span<float> x, const float* by);
// ln of the sum of e^x: what logits have too much to be logarithms of probabilities.
double log_total(std::span<const float> x);

}  // namespace hydrofoil::kernels
