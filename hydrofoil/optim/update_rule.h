// SPDX-License-Identifier: Apache-2.0
// What an optimizer does to a contiguous range of one parameter group. The caller walks its slices
// in chunks of any size: it owns the memory of parameters, gradients and states, wherever that is.
//
//   auto rule = make_rule("AdamW");                                    // states:
//   rule->state_names() rule->update({.param = p, .grad = g, .states = states, .low = {bf16}},
//   group, step, scale);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "hydrofoil/kernels/low_precision.h"

namespace hydrofoil::optim {

// Of one parameter group, as they are at one step. Fields that a rule does not know are ignored.
struct Hyperparameters {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;  // adam, adamw
  double weight_decay = 0;
  double momentum = 0;          // sgd
  bool adam_w = true;           // decoupled decay; else an L2 term of the gradient
  bool bias_correction = true;  // adam, adamw
  bool nesterov = false;        // sgd
};

struct Chunk {
  std::span<float> param;                    // fp32 master
  std::span<const float> grad;               // as accumulated, before grad_scale
  std::span<const std::span<float>> states;  // one for each of state_names(), zeros before step 1
  kernels::LowPrecisionCopy low = {};  // the new parameter in 16 bits, written in the same pass
  // Where tensors begin within the chunk, ascending. Rules that treat every element alike do not
  // look; rules with a norm per tensor need it.
  std::span<const size_t> tensor_begins = {};
};

class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  // Names in checkpoints, in the order of Chunk::states: "exp_avg", "exp_avg_sq".
  virtual std::span<const std::string_view> state_names() const = 0;
  // step counts from 1. The gradient is grad_scale * grad: 1 / divisor, the clip coefficient and
  // 1 / loss scale in one factor. The result does not depend on chunks or threads. std::logic_error
  // when sizes or the number of states do not fit.
  virtual void update(const Chunk& chunk, const Hyperparameters& group, int64_t step,
                      float grad_scale) const = 0;
};

// "Adam", "AdamW", "SGD", in any case. Adam and AdamW are one rule: Hyperparameters::adam_w
// decides. SGD keeps a state only when one of the groups it will serve has momentum.
// Error(kConfig) that lists the choices for any other name.
std::unique_ptr<UpdateRule> make_rule(std::string_view name,
                                      std::span<const Hyperparameters> groups = {});

}  // namespace hydrofoil::optim
