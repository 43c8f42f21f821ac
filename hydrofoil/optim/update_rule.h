// SPDX-License-Identifier: Apache-2.0
// What an optimizer does to a contiguous range of one parameter group: data and a kernel. The
// caller walks its slices in pieces of any size: it owns the memory of parameters, gradients and
// states, wherever that is.
//
//   const UpdateRule rule = make_rule("AdamW");       // rule.states: exp_avg, exp_avg_sq
//   rule.update({.param = p, .grad = g, .states = {m, v}, .low = bf16}, group, {.count = step});
//
// A new optimizer is a formula in kernels/update_kernel.inl and a line of the table in
// update_rule.cpp: stores, checkpoints, plans and offload follow the names of its states.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "hydrofoil/kernels/update.h"

namespace hydrofoil::optim {

// Of one parameter group, as they are at one step. Fields that a rule does not know are ignored.
struct Hyperparameters {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;  // adam, adamw, lamb; lion without eps
  double weight_decay = 0;
  double momentum = 0;           // sgd
  bool adam_w = true;            // decoupled decay; else an L2 term of the gradient
  bool bias_correction = true;   // adam, adamw, lamb
  bool nesterov = false;         // sgd
  double lr_decay = 0;           // adagrad: lr / (1 + lr_decay (count - 1))
  double initial_sum = 0;        // adagrad: what the sums of squares begin with
  double min_coeff = 0.01;       // lamb: smallest trust ratio
  double max_coeff = 10;         // lamb: largest trust ratio
  bool eps_inside_sqrt = false;  // lamb
};

struct Update {
  int64_t count = 0;       // of the tensor's updates, this one included
  double trust_ratio = 1;  // of its tensor; rules that measure norms
  bool operator==(const Update&) const = default;
};

using kernels::LambNorms;
using kernels::UpdateArrays;

// Functions do not depend on how tensors are cut, or on threads. std::logic_error where sizes,
// types or the number of states do not fit.
struct UpdateRule {
  std::string_view name;                     // of checkpoints: "adamw"
  std::span<const std::string_view> states;  // their names there, in order: "exp_avg", "exp_avg_sq"
  void (*update)(const UpdateArrays& arrays, const Hyperparameters& group, const Update& update);
  // Rules whose step length depends on norms of whole tensors; else null. First of all parts of a
  // tensor, as kernels::lamb_moments; then trust_ratio() gives Update's for all of them.
  void (*measure)(const UpdateArrays& arrays, const Hyperparameters& group, const Update& update,
                  size_t flat_offset, LambNorms& norms) = nullptr;
};

// |parameter| / |direction| within the group's bounds; 1 where either is zero.
double trust_ratio(const LambNorms& norms, const Hyperparameters& group);

// "Adagrad", "Adam", "AdamW", "Lamb", "Lion", "SGD", in any case. Adam and AdamW are one rule:
// Hyperparameters::adam_w decides. SGD keeps a state only when one of the groups it will serve has
// momentum. Error(kConfig) that lists the choices for any other name.
UpdateRule make_rule(std::string_view name, std::span<const Hyperparameters> groups = {});

}  // namespace hydrofoil::optim
