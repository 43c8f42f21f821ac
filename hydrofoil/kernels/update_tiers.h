// SPDX-License-Identifier: Apache-2.0
// What the fused optimizer kernels take: arrays as they rest, and factors already in fp32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/kernels/elementwise_tiers.h"
#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

enum class Format : uint8_t { kNone, kF32, kBF16, kF16 };

struct UpdateArgs {
  struct Array {
    void* data;
    Format format;  // kNone: there is no such array
  };
  Array param, grad, states[2];
  Array low;         // the updated parameter once more, in 16 bits
  float grad_scale;  // of grad
  // What is put back in bf16 is rounded by chance.
  bool random;
  RandomKey param_key, state_keys[2];
  uint32_t position;  // of element 0
};

struct AdamFactors {
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float inv_sqrt_correction2, eps;
  float step_size;  // lr / (1 - beta1^t)
  float decay;      // lr * weight_decay when decoupled, else 0
  float l2;         // weight_decay when not decoupled, else 0
};

struct SgdFactors {
  float lr, momentum, weight_decay;
  bool nesterov;
};

struct LionFactors {
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float lr, decay;  // lr * weight_decay
};

struct AdagradFactors {
  float lr, eps, weight_decay;
  float initial;  // of the sum, in a tensor's first step; else 0
};

struct LambFactors {
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float eps_inside, eps_outside;  // of the square root; one of them is 0
  float weight_decay;
  float step_size;  // with bias correction and trust ratio
};

HYDROFOIL_DECLARE_TIERS(
    // Elements [begin, end).
    void adam(const UpdateArgs& args, const AdamFactors& factors, size_t begin, size_t end);
    void sgd(const UpdateArgs& args, const SgdFactors& factors, size_t begin, size_t end);
    void lion(const UpdateArgs& args, const LionFactors& factors, size_t begin, size_t end);
    void adagrad(const UpdateArgs& args, const AdagradFactors& factors, size_t begin, size_t end);
    void lamb(const UpdateArgs& args, const LambFactors& factors, size_t begin, size_t end);
    // New moments, and for each block of the norm that [begin, end) meets the sums of squares of
    // the parameter and of its direction there. Element 0 lies `phase` elements into its block.
    void lamb_moments(const UpdateArgs& args, const LambFactors& factors, size_t phase,
                      size_t begin, size_t end, double* parameter_squares,
                      double* direction_squares);)

}  // namespace hydrofoil::kernels
