// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/rotary.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/reciprocal.h>
#include <ATen/ops/sin.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace hydrofoil::models {
namespace {

at::Tensor turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto half = x.size(-1) / 2;
  const auto first = x.narrow(-1, 0, half), second = x.narrow(-1, half, half);
  return at::cat({first * cos - second * sin, second * cos + first * sin}, -1);
}

struct Rotate : torch::autograd::Function<Rotate> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& cos, const at::Tensor& sin) {
    context->saved_data["cos"] = cos;
    context->saved_data["sin"] = sin;
    return turn(x, cos, sin);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto cos = context->saved_data["cos"].toTensor(),
               sin = context->saved_data["sin"].toTensor();
    return {turn(grads[0], cos, sin.neg()), {}, {}};
  }
};

}  // namespace

std::pair<at::Tensor, at::Tensor> RotaryTable::rows(int64_t begin, int64_t count,
                                                    const at::Tensor& like) const {
  std::lock_guard lock(mutex_);
  if (!cos_.defined() || cos_.size(0) < begin + count || cos_.device() != like.device()) {
    at::NoGradGuard no_grad;
    // In fp32 and in this order, as Hugging Face does: at position 1000 the last bit of a frequency
    // is worth 1e-4 of an angle.
    const auto fp32 = at::TensorOptions().dtype(at::kFloat).device(like.device());
    const auto exponent = at::arange(0, head_dim_, 2, fp32) / static_cast<double>(head_dim_);
    const auto frequency = at::reciprocal(at::pow(theta_, exponent));
    const auto positions = at::arange(std::max<int64_t>(begin + count, 2 * begin), fp32);
    const auto angle = positions.view({-1, 1, 1}) * frequency;
    cos_ = at::cos(angle), sin_ = at::sin(angle);
  }
  return {cos_.narrow(0, begin, count), sin_.narrow(0, begin, count)};
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  return Rotate::apply(x, cos, sin);
}

}  // namespace hydrofoil::models
