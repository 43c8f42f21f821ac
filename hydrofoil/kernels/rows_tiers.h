// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

HYDROFOIL_DECLARE_TIERS(
    void rms_norm(const float* x, const float* weight, size_t count, float epsilon, float* out);
    void rms_norm_backward(const float* x, const float* weight, const float* grad, size_t count,
                           float epsilon, float* grad_x, float* grad_weight);
    void layer_norm(const float* x, const float* weight, const float* bias, size_t count,
                    float epsilon, float* out);
    void rotate(float* x, const float* cosines, const float* sines, size_t pairs);
    void rotate_neighbours(float* x, const float* cosines, const float* sines, size_t pairs);
    void silu(float* x, size_t count); void gelu(float* x, size_t count);
    void gelu_tanh(float* x, size_t count); void relu(float* x, size_t count);
    void softcap(float* x, size_t count, float cap);
    void silu_gated(const float* gate, const float* up, size_t count, float* out);
    void gelu_tanh_gated(const float* gate, const float* up, size_t count, float* out);
    void silu_gated_backward(const float* gate, const float* up, const float* grad, size_t count,
                             float* grad_gate, float* grad_up);
    void gelu_tanh_gated_backward(const float* gate, const float* up, const float* grad,
                                  size_t count, float* grad_gate, float* grad_up);
    void multiply_by(float* x, const float* by, size_t count);
    double exponentials(const float* x, size_t count, float shift);)

}  // namespace hydrofoil::kernels
