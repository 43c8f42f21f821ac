// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <utility>
#include <vector>

#include "hydrofoil/models/fused.h"
#include "hydrofoil/models/kept.h"
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

// What the backward of a product needs beside tensors.
struct LinearCall {
  bool transposed, biased, learns;
  at::ScalarType type;
  std::shared_ptr<Recipe> recipe;  // of the input, in place of it; null: it is kept
};

// at::linear with the product of our choice, in both directions, in the layer's type. Autograd
// turns the gradients into the types of x, weight and bias. Keeps the weight, then the input or
// what it is made of.
struct LinearFunction : torch::autograd::Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                            const Linear& layer, const Made& made) {
    const auto x = input.to(layer.type), w = weight.to(layer.type);
    const LinearCall call{.transposed = layer.transposed,
                          .biased = bias.has_value(),
                          .learns = weight.requires_grad(),
                          .type = layer.type,
                          .recipe = made.recipe};
    variable_list saved{weight};
    if (call.learns && call.recipe) {
      call.recipe->add_user();
      saved.insert(saved.end(), made.of.begin(), made.of.end());
    } else if (call.learns) {
      saved.push_back(x);
    }
    context->save_for_backward(std::move(saved));
    keep(context, call);
    return multiply(x, layer.transposed ? w.t() : w, bias ? bias->to(layer.type) : at::Tensor());
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    auto saved = context->get_saved_variables();
    const auto& call = kept<LinearCall>(context);
    const auto weight = saved.front();
    saved.erase(saved.begin());
    const auto grad = flat(grads[0]);
    variable_list result(5);
    // Before the gradient of the input: what this makes and frees does not add to that.
    if (call.learns) {
      auto x = call.recipe ? call.recipe->make(saved).to(call.type) : saved.front();
      const auto of_weight = [x = flat(x), grad, transposed = call.transposed] {
        return transposed ? product(x.t(), grad.t()) : product(grad.t(), x.t());
      };
      if (auto* late = LateWeights::of_this_thread()) {
        late->put_off(weight, of_weight);
      } else {
        result[1] = of_weight();
      }
    }
    if (context->needs_input_grad(0)) {
      const auto w = weight.to(call.type);
      result[0] = multiply(grads[0], call.transposed ? w : w.t(), {});
    }
    if (call.biased && context->needs_input_grad(2)) result[2] = grad.sum(0);
    return result;
  }
};

}  // namespace

at::Tensor linear(const Made& x, const Linear& layer) {
  const auto bias = layer.bias.defined() ? std::optional(layer.bias) : std::nullopt;
  return LinearFunction::apply(x.value, layer.weight, bias, layer, x);
}

namespace {

at::Tensor plus_bias(const at::Tensor& x, const at::Tensor& bias) {
  return bias.defined() ? x + bias.to(x.scalar_type()) : x;
}

}  // namespace

at::Tensor linear_sum(const Made& x, const Linear& layer, const TensorSeam* seam) {
  if (!seam) return linear(x, layer);
  Linear term = layer;
  term.bias = at::Tensor();
  return plus_bias(seam->sum(linear(x, term)), layer.bias);
}

namespace {

// of: x, the weight as it scales, the bias or none.
at::Tensor normal_of(const std::vector<at::Tensor>& of, spec::Norm kind, double epsilon) {
  return kind == spec::Norm::kRmsNorm ? rms_norm(of[0], of[1], epsilon)
                                      : layer_norm(of[0], of[1], of[2], epsilon);
}

std::vector<at::Tensor> what_norm_takes(const at::Tensor& x, const Norm& norm) {
  return {x.to(norm.weight.scalar_type()), norm.unit_offset ? norm.weight + 1 : norm.weight,
          norm.bias};
}

}  // namespace

at::Tensor normalize(const at::Tensor& x, const Norm& norm) {
  return normal_of(what_norm_takes(x, norm), norm.kind, norm.epsilon);
}

// The recipe has copies of the parameters: their unit is not in use when a product asks for it.
Made normalized(const at::Tensor& x, const Norm& norm) {
  auto of = what_norm_takes(x, norm);
  auto value = normal_of(of, norm.kind, norm.epsilon);
  if (!at::GradMode::is_enabled()) return value;
  for (auto* parameter : {&of[1], &of[2]})
    if (parameter->defined()) *parameter = parameter->detach().clone();
  return {std::move(value), std::move(of),
          [kind = norm.kind, epsilon = norm.epsilon](const auto& taken) {
            return normal_of(taken, kind, epsilon);
          }};
}

namespace {

Made made_of(std::vector<at::Tensor> of, Recipe::Make make) {
  auto value = make(of);
  return {std::move(value), std::move(of), std::move(make)};
}

Made activated(const at::Tensor& x, spec::Activation activation) {
  return made_of({x}, [activation](const auto& of) { return activate(of[0], activation); });
}

Made gated_by(const at::Tensor& gate, const at::Tensor& up, spec::Activation activation) {
  return made_of({gate, up},
                 [activation](const auto& of) { return gated(of[0], of[1], activation); });
}

at::Tensor feed_forward_at_once(const Made& x, const Mlp& mlp) {
  if (mlp.gate_up.weight.defined()) {
    const auto both = linear(x, mlp.gate_up).chunk(2, -1);
    return linear(gated_by(both[0], both[1], mlp.activation), mlp.down);
  }
  if (!mlp.gate.weight.defined())
    return linear(activated(linear(x, mlp.up), mlp.activation), mlp.down);
  const auto gate = linear(x, mlp.gate);  // before up: the order of units
  return linear(gated_by(gate, linear(x, mlp.up), mlp.activation), mlp.down);
}

// Without other ranks.
at::Tensor feed_forward_alone(const Made& x, const Mlp& mlp) {
  if (mlp.rows == 0) return feed_forward_at_once(x, mlp);
  std::vector<at::Tensor> parameters;
  for (const Linear* part : {&mlp.gate, &mlp.gate_up, &mlp.up, &mlp.down})
    for (const auto& tensor : {part->weight, part->bias})
      if (tensor.defined()) parameters.push_back(tensor);
  return tiled([mlp](const at::Tensor& rows) { return feed_forward_at_once(rows, mlp); }, x.value,
               parameters, mlp.rows);
}

}  // namespace

at::Tensor feed_forward(const Made& x, const Mlp& mlp) {
  if (!mlp.tensor) return feed_forward_alone(x, mlp);
  Mlp term = mlp;
  term.down.bias = at::Tensor();
  const auto mine = x.as(mlp.tensor->fan_out(x.value));
  return plus_bias(mlp.tensor->sum(feed_forward_alone(mine, term)), mlp.down.bias);
}

}  // namespace hydrofoil::models
