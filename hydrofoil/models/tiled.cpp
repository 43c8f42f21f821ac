// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/tiled.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "hydrofoil/models/kept.h"
#include "hydrofoil/models/late_weights.h"

namespace hydrofoil::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Block = std::function<at::Tensor(const at::Tensor&)>;

struct TiledCall {
  Block fn;
  int64_t rows = 0;
  bool wants_gradient = false;  // x

  // visit(begin, count) of the rows of x [N, H].
  template <class Visit>
  void for_each_chunk(const at::Tensor& x, const Visit& visit) const {
    for (int64_t begin = 0; begin < x.size(0); begin += rows)
      visit(begin, std::min(rows, x.size(0) - begin));
  }
  at::Tensor run(const at::Tensor& x) const {
    at::Tensor result;
    for_each_chunk(x, [&](int64_t begin, int64_t count) {
      const auto part = fn(x.narrow(0, begin, count));
      if (!result.defined()) result = at::empty({x.size(0), part.size(1)}, part.options());
      result.narrow(0, begin, count).copy_(part);
    });
    return result;
  }
};
using TiledCallPointer = std::shared_ptr<TiledCall>;

// inputs: x, then the parameters.
struct Tiled : torch::autograd::Function<Tiled> {
  static at::Tensor forward(AutogradContext* context, at::TensorList inputs,
                            const TiledCallPointer& call) {
    context->save_for_backward(inputs.vec());
    keep(context, call);
    return call->run(inputs[0]);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto& call = kept<TiledCallPointer>(context);
    const LateWeights::Scope at_once(nullptr);
    auto inputs = context->get_saved_variables();
    const auto x = inputs[0].detach();
    variable_list sums(inputs.size() + 1);  // and nothing for the call
    if (call->wants_gradient) sums[0] = at::empty(x.sizes(), x.options());
    call->for_each_chunk(x, [&](int64_t begin, int64_t count) {
      at::AutoGradMode record(true);
      inputs[0] = x.narrow(0, begin, count).detach().set_requires_grad(call->wants_gradient);
      variable_list wanted;
      for (const auto& input : inputs)
        if (input.requires_grad()) wanted.push_back(input);
      auto parts =
          torch::autograd::grad({call->fn(inputs[0])}, wanted, {grads[0].narrow(0, begin, count)});
      at::NoGradGuard no_grad;
      for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
        if (!inputs[i].requires_grad()) continue;
        at::Tensor part = std::move(parts[next++]);
        if (i == 0)
          sums[0].narrow(0, begin, count).copy_(part);
        else if (sums[i].defined())
          sums[i].add_(part);
        else
          sums[i] = part.to(at::kFloat);
      }
    });
    return sums;
  }
};

}  // namespace

at::Tensor tiled(Block fn, const at::Tensor& x, const std::vector<at::Tensor>& parameters,
                 int64_t rows) {
  const auto flat = x.reshape({-1, x.size(-1)});
  if (flat.size(0) <= rows) return fn(x);
  auto call = std::make_shared<TiledCall>();
  call->fn = std::move(fn);
  call->rows = rows;
  call->wants_gradient = x.requires_grad();
  std::vector<at::Tensor> inputs{flat};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  const auto result =
      at::GradMode::is_enabled() ? Tiled::apply(at::TensorList(inputs), call) : call->run(flat);
  auto shape = x.sizes().vec();
  shape.back() = result.size(1);
  return result.view(shape);
}

}  // namespace hydrofoil::models
