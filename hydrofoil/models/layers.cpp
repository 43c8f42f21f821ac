// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <vector>

#include "hydrofoil/models/fused.h"
#include "hydrofoil/models/late_weights.h"
#include "hydrofoil/models/product.h"
#include "hydrofoil/models/tiled.h"

namespace hydrofoil::models {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor flat(const at::Tensor& x) {
  return x.reshape({-1, x.size(-1)});
}

// x [.., in] . weight [out, in]^T + bias.
at::Tensor multiply(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return product(flat(x), weight, bias).view(shape);
}

// at::linear with the product of our choice, in both directions, in the layer's type. Autograd
// turns the gradients into the types of x, weight and bias.
struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                            const Linear& layer) {
    const auto x = input.to(layer.type), w = weight.to(layer.type);
    context->save_for_backward({x, weight});
    context->saved_data["transposed"] = layer.transposed;
    context->saved_data["bias"] = bias.has_value();
    return multiply(x, layer.transposed ? w.t() : w, bias ? bias->to(layer.type) : at::Tensor());
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const bool transposed = context->saved_data["transposed"].toBool();
    const auto grad = flat(grads[0]);
    variable_list result(4);
    if (context->needs_input_grad(0)) {
      const auto weight = saved[1].to(x.scalar_type());
      result[0] = multiply(grads[0], transposed ? weight : weight.t(), {});
    }
    if (context->needs_input_grad(1)) {
      const auto of_weight = [x = flat(x), grad, transposed] {
        return transposed ? product(x.t(), grad.t()) : product(grad.t(), x.t());
      };
      if (auto* late = LateWeights::of_this_thread()) {
        late->put_off(saved[1], of_weight);
      } else {
        result[1] = of_weight();
      }
    }
    if (context->saved_data["bias"].toBool() && context->needs_input_grad(2))
      result[2] = grad.sum(0);
    return result;
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const Linear& layer) {
  const auto bias = layer.bias.defined() ? std::optional(layer.bias) : std::nullopt;
  return LinearFunction::apply(x, layer.weight, bias, layer);
}

namespace {

at::Tensor plus_bias(const at::Tensor& x, const at::Tensor& bias) {
  return bias.defined() ? x + bias.to(x.scalar_type()) : x;
}

}  // namespace

at::Tensor linear_sum(const at::Tensor& x, const Linear& layer, const TensorSeam* seam) {
  if (!seam) return linear(x, layer);
  Linear term = layer;
  term.bias = at::Tensor();
  return plus_bias(seam->sum(linear(x, term)), layer.bias);
}

at::Tensor normalize(const at::Tensor& input, const Norm& norm) {
  const auto x = input.to(norm.weight.scalar_type());
  const auto shape = norm.weight.sizes();
  const auto weight = norm.unit_offset ? norm.weight + 1 : norm.weight;
  switch (norm.kind) {
    case spec::Norm::kLayerNorm:
      return at::layer_norm(x, shape, weight, norm.bias, norm.epsilon);
    case spec::Norm::kRmsNorm:
      return rms_norm(x, weight, norm.epsilon);
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
    case spec::Activation::kRelu:
      return at::relu(x);
  }
  throw std::logic_error("unknown activation");
}

namespace {

at::Tensor feed_forward_at_once(const at::Tensor& x, const Mlp& mlp) {
  if (mlp.gate_up.weight.defined()) {
    const auto both = linear(x, mlp.gate_up).chunk(2, -1);
    return linear(gated(both[0], both[1], mlp.activation), mlp.down);
  }
  if (!mlp.gate.weight.defined())
    return linear(activate(linear(x, mlp.up), mlp.activation), mlp.down);
  const auto gate = linear(x, mlp.gate);  // before up: the order of units
  return linear(gated(gate, linear(x, mlp.up), mlp.activation), mlp.down);
}

// Without other ranks.
at::Tensor feed_forward_alone(const at::Tensor& x, const Mlp& mlp) {
  if (mlp.rows == 0) return feed_forward_at_once(x, mlp);
  std::vector<at::Tensor> parameters;
  for (const Linear* part : {&mlp.gate, &mlp.gate_up, &mlp.up, &mlp.down})
    for (const auto& tensor : {part->weight, part->bias})
      if (tensor.defined()) parameters.push_back(tensor);
  return tiled([mlp](const at::Tensor& rows) { return feed_forward_at_once(rows, mlp); }, x,
               parameters, mlp.rows);
}

}  // namespace

at::Tensor feed_forward(const at::Tensor& x, const Mlp& mlp) {
  if (!mlp.tensor) return feed_forward_alone(x, mlp);
  Mlp term = mlp;
  term.down.bias = at::Tensor();
  return plus_bias(mlp.tensor->sum(feed_forward_alone(mlp.tensor->fan_out(x), term)),
                   mlp.down.bias);
}

}  // namespace hydrofoil::models
