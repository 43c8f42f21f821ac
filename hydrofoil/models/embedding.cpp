// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/embedding.h"

#include <ATen/ops/embedding.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

namespace hydrofoil::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Embedding : torch::autograd::Function<Embedding> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& weight,
                            const at::Tensor& tokens) {
    context->saved_data["tokens"] = tokens;
    context->saved_data["rows"] = weight.size(0);
    return at::embedding(weight, tokens);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto tokens = context->saved_data["tokens"].toTensor().reshape({-1});
    const auto grad = grads[0].reshape({tokens.size(0), -1}).to(at::kFloat);
    auto sum = at::zeros({context->saved_data["rows"].toInt(), grad.size(1)}, grad.options());
    return {sum.index_add_(0, tokens, grad), {}};
  }
};

}  // namespace

at::Tensor embedding(const at::Tensor& weight, const at::Tensor& tokens) {
  return at::isReducedFloatingType(weight.scalar_type()) ? Embedding::apply(weight, tokens)
                                                         : at::embedding(weight, tokens);
}

}  // namespace hydrofoil::models
