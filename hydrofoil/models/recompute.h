// SPDX-License-Identifier: Apache-2.0
// Activation checkpointing: a block keeps only its input and runs again during backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace hydrofoil::models {

// Where inputs wait for their backward, when not in memory.
class ActivationStore {
 public:
  virtual ~ActivationStore() = default;
  // Copies the values. The result gives them back, once, while the store lives; when the last copy
  // of it goes unasked, they are forgotten.
  virtual std::function<at::Tensor()> keep(const at::Tensor& values) = 0;
};

// fn(input), its intermediate results recomputed during backward. Gradients are those of a plain
// call, bit by bit, and reach the parameters that fn uses in the same way. fn must give the same
// result twice and is called on the thread that runs backward; it may not return its input.
//
// A parameter that is used outside fn too gets its gradient in two parts, each with its own
// post-accumulate hook. So leave the embedding block alone (its weight may be tied to the head, and
// it has nothing to save): recompute the layers.
at::Tensor recompute(std::function<at::Tensor(const at::Tensor&)> fn, const at::Tensor& input,
                     ActivationStore* store = nullptr);

}  // namespace hydrofoil::models
