// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/recompute.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace hydrofoil::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Block = std::function<at::Tensor(const at::Tensor&)>;

struct BlockHolder : torch::CustomClassHolder {
  explicit BlockHolder(Block b) : block(std::move(b)) {}
  Block block;
  bool wants_gradient = false;            // the input
  std::function<at::Tensor()> kept = {};  // in a store
};

struct Recompute : torch::autograd::Function<Recompute> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor&,
                            Block block, ActivationStore* store) {
    auto holder = c10::make_intrusive<BlockHolder>(std::move(block));
    holder->wants_gradient = input.requires_grad();
    if (store) {
      holder->kept = store->keep(input);
    } else {
      context->save_for_backward({input});
    }
    auto output = holder->block(input);  // a Function's forward records no graph
    context->saved_data["block"] = c10::IValue::make_capsule(std::move(holder));
    return output;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto holder =
        c10::static_intrusive_pointer_cast<BlockHolder>(context->saved_data["block"].toCapsule());
    auto input = holder->kept ? holder->kept() : context->get_saved_variables()[0].detach();
    at::AutoGradMode record(true);
    input.set_requires_grad(holder->wants_gradient);
    const auto output = holder->block(input);
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
