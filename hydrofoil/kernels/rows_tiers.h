// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/activation.h"
#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

HYDROFOIL_DECLARE_TIERS(
    void rms_norm(const float* x, const float* weight, size_t count, float epsilon, float* out);
    void rms_norm_backward(const float* x, const float* weight, const float* grad, size_t count,
                           float epsilon, float* grad_x, float* grad_weight);
    void layer_norm(const float* x, const float* weight, const float* bias, size_t count,
                    float epsilon, float* out);
    void layer_norm_backward(const float* x, const float* weight, const float* grad, size_t count,
                             float epsilon, float* grad_x, float* grad_weight, float* grad_bias);
    void rotate(float* x, const float* cosines, const float* sines, size_t pairs);
    void rotate_neighbours(float* x, const float* cosines, const float* sines, size_t pairs);
    void activate(Activation activation, const float* x, size_t count, float* out);
    void activate_backward(Activation activation, const float* x, const float* grad, size_t count,
                           float* grad_x);
    void gated(Activation activation, const float* gate, const float* up, size_t count, float* out);
    void gated_backward(Activation activation, const float* gate, const float* up,
                        const float* grad, size_t count, float* grad_gate, float* grad_up);
    void softcap(float* x, size_t count, float cap);
    double exponentials(const float* x, size_t count, float shift);)

}  // namespace hydrofoil::kernels
