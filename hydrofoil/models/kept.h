// SPDX-License-Identifier: Apache-2.0
// What the forward of a custom autograd function leaves to its backward beside tensors.
//
//   keep(context, Job{..});                   // in forward
//   const Job& job = kept<Job>(context);      // in backward
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace hydrofoil::models {

template <class T>
struct Keeper final : torch::CustomClassHolder {
  explicit Keeper(T given) : value(std::move(given)) {}
  T value;
};

// One object a context.
template <class T>
void keep(torch::autograd::AutogradContext* context, T value) {
  context->saved_data["kept"] =
      c10::IValue::make_capsule(c10::make_intrusive<Keeper<T>>(std::move(value)));
}

// Valid while the context keeps it.
template <class T>
T& kept(torch::autograd::AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<Keeper<T>>(context->saved_data["kept"].toCapsule())
      ->value;
}

}  // namespace hydrofoil::models
