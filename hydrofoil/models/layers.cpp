// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>

namespace hydrofoil::models {

at::Tensor linear(const at::Tensor& x, const Linear& layer) {
  return at::linear(x, layer.transposed ? layer.weight.t() : layer.weight, layer.bias);
}

at::Tensor normalize(const at::Tensor& x, const Norm& norm) {
  const auto shape = norm.weight.sizes();
  switch (norm.kind) {
    case spec::Norm::kLayerNorm:
      return at::layer_norm(x, shape, norm.weight, norm.bias, norm.epsilon);
    case spec::Norm::kRmsNorm:
      return at::rms_norm(x, shape, norm.weight, norm.epsilon);
  }
  throw std::logic_error("unknown norm");
}

at::Tensor activate(const at::Tensor& x, spec::Activation activation) {
  switch (activation) {
    case spec::Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case spec::Activation::kGelu:
      return at::gelu(x);
    case spec::Activation::kSilu:
      return at::silu(x);
  }
  throw std::logic_error("unknown activation");
}

at::Tensor feed_forward(const at::Tensor& x, const Mlp& mlp) {
  if (!mlp.gate.weight.defined())
    return linear(activate(linear(x, mlp.up), mlp.activation), mlp.down);
  return linear(activate(linear(x, mlp.gate), mlp.activation) * linear(x, mlp.up), mlp.down);
}

}  // namespace hydrofoil::models
