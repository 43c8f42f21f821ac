// SPDX-License-Identifier: Apache-2.0
// What a transformer does to one token's row between products: norms, rotary positions,
// activations. Rows of any length; the same bits on every CPU. Single-threaded.
#pragma once

#include <cstddef>
#include <span>

namespace hydrofoil::kernels {

// out = x / sqrt(mean(x^2) + epsilon) * weight. out may be x.
void rms_norm(std::span<const float> x, const float* weight, float epsilon, float* out);
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
void multiply_by(std::span<float> x, const float* by);

}  // namespace hydrofoil::kernels
