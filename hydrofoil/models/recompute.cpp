// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/recompute.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "hydrofoil/models/kept.h"

namespace hydrofoil::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Block = std::function<at::Tensor(const at::Tensor&)>;

struct Again {
  Block block;
  bool wants_gradient = false;              // the input
  std::function<at::Tensor()> stored = {};  // the input, in a store
};

struct Recompute : torch::autograd::Function<Recompute> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor&,
                            Block block, ActivationStore* store) {
    Again again{.block = std::move(block), .wants_gradient = input.requires_grad()};
    if (store) {
      again.stored = store->keep(input);
    } else {
      context->save_for_backward({input});
    }
    auto output = again.block(input);  // a Function's forward records no graph
    keep(context, std::move(again));
    return output;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto& again = kept<Again>(context);
    auto input = again.stored ? again.stored() : context->get_saved_variables()[0].detach();
    at::AutoGradMode record(true);
    input.set_requires_grad(again.wants_gradient);
    const auto output = again.block(input);
    torch::autograd::backward({output}, {grads[0]});
    return {input.grad(), {}, {}, {}};
  }
};

}  // namespace

at::Tensor recompute(Block fn, const at::Tensor& input, ActivationStore* store) {
  if (!at::GradMode::is_enabled()) return fn(input);
  // The parameters inside fn want gradients even where the input does not.
  const auto anchor = at::empty({0}, input.options().dtype(at::kFloat)).set_requires_grad(true);
  return Recompute::apply(input, anchor, std::move(fn), store);
}

}  // namespace hydrofoil::models
