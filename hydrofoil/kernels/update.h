// SPDX-License-Identifier: Apache-2.0
// One optimizer step on flat arrays, fused into one pass.
//
//   adam_step({.param = p, .grad = g, .states = {exp_avg, exp_avg_sq}, .low = bf16_copy},
//             {.lr = 3e-4, .weight_decay = 0.1, .bias_correction1 = c1, .bias_correction2 = c2});
//
// All arithmetic is fp32; what rests in 16 bits is widened before and rounded after it. The same
// bits on every CPU, with any number of threads, and however the arrays are cut. Memory traffic of
// Adam: 16 bytes read and 12 written an element where all is fp32.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "hydrofoil/core/values.h"
#include "hydrofoil/kernels/norm.h"

namespace hydrofoil::kernels {

// Rounding up or down by chance, so that the mean of many roundings is exact: small changes of a
// large number are not lost. A function of these numbers and of an element's position only.
struct StochasticRounding {
  uint64_t seed = 0;    // of the run
  uint64_t stream = 0;  // of the flat buffer
  uint64_t step = 0;
  uint64_t first = 0;  // position of element 0 in the flat buffer; repeats after 2^32
};

// All of one size; none overlaps another. Every array may be fp32, bf16 or fp16.
struct UpdateArrays {
  Values param;
  Values grad;                        // only read
  std::array<Values, 2> states = {};  // as many as the rule has, in the order it names them
  // The new parameter once more, in 16 bits, written past the caches where its memory is 32-byte
  // aligned. Empty: none.
  Values low = {};
  float grad_scale = 1;  // 1 / divisor * clip coefficient / loss scale
  // Of states and a parameter that rest in bf16. None: to nearest even, as fp16 always is. A copy
  // beside an fp32 parameter is rounded to nearest even.
  std::optional<StochasticRounding> rounding = {};
};

// Every function here: std::logic_error when sizes differ, or a type is not one of the three.

//   g = grad_scale * grad (+ weight_decay * p, not decoupled)
//   m = beta1 m + (1 - beta1) g
//   v = beta2 v + (1 - beta2) g^2
//   p = p - lr weight_decay p (decoupled)
//         - lr / correction1 * m / (sqrt(v) / sqrt(correction2) + eps)
struct AdamScalars {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled = true;  // AdamW; else the decay is an L2 term of the gradient
  double bias_correction1 = 1, bias_correction2 = 1;  // 1 - beta^t, or 1 for none
};
void adam_step(const UpdateArrays& arrays, const AdamScalars& scalars);

//   d = grad_scale * grad + weight_decay * p
//   b = momentum b + d                          (b starts as zeros; only with momentum)
//   p = p - lr * (nesterov ? d + momentum b : b)
struct SgdScalars {
  double lr = 1e-3, momentum = 0, weight_decay = 0;
  bool nesterov = false;
};
// std::logic_error for a momentum without a state.
void sgd_step(const UpdateArrays& arrays, const SgdScalars& scalars);

//   c = beta1 m + (1 - beta1) grad_scale * grad
//   p = p - lr weight_decay p - lr sign(c)      (sign(0) = 0, as in the paper and torch.sign;
//   m = beta2 m + (1 - beta2) grad_scale * grad  DeepSpeed's kernels move a zero by lr)
struct LionScalars {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, weight_decay = 0;
};
void lion_step(const UpdateArrays& arrays, const LionScalars& scalars);

//   d = grad_scale * grad + weight_decay * p
//   s = s + d^2
//   p = p - lr d / (sqrt(s) + eps)
struct AdagradScalars {
  double lr = 1e-2, eps = 1e-10, weight_decay = 0;
  double initial_sum = 0;  // added to s: what it begins with, in a tensor's first step
};
void adagrad_step(const UpdateArrays& arrays, const AdagradScalars& scalars);

// DeepSpeed's FusedLamb, bias correction in the step size. With R over the whole tensor:
//   m, v as Adam's
//   u = m / (sqrt(v) + eps) + weight_decay * p     (or sqrt(v + eps))
//   R = |p| / |u|                                  (optim/update_rule.h clamps it)
//   p = p - lr * sqrt(correction2) / correction1 * R * u
struct LambScalars {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool eps_inside_sqrt = false;
  double bias_correction1 = 1, bias_correction2 = 1;
};
// Of a tensor, before its update. Parts of it, from whichever rank, add up exactly.
struct LambNorms {
  SumOfSquares parameter, direction;
};
// The first half: new moments; adds to the squares of the norms, which are those of blocks of 256
// elements of the flat buffer. The arrays begin at flat_offset there, and end at the end of a block
// or of their tensor.
void lamb_moments(const UpdateArrays& arrays, const LambScalars& scalars, size_t flat_offset,
                  LambNorms& norms);
// The second: from the moments as they now rest.
void lamb_step(const UpdateArrays& arrays, const LambScalars& scalars, double trust_ratio);

}  // namespace hydrofoil::kernels
