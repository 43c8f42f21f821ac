// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/tensor.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>
#include <vector>

#include "hydrofoil/core/even_share.h"
#include "hydrofoil/models/kept.h"

namespace hydrofoil::parallel {
namespace {

using comm::Communicator;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

DType dtype_of(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kBFloat16:
      return DType::kBF16;
    case at::kHalf:
      return DType::kF16;
    default:
      return DType::kF32;
  }
}

// In place; x is contiguous.
void reduce(const Communicator& group, const at::Tensor& x, comm::Reduce op, comm::Label label) {
  group.all_reduce({x.mutable_data_ptr(), static_cast<size_t>(x.numel()), dtype_of(x)}, op, label);
}

at::Tensor summed(const Communicator& group, const at::Tensor& x, comm::Label label) {
  const auto sum = x.clone(at::MemoryFormat::Contiguous);
  reduce(group, sum, comm::Reduce::kSum, label);
  return sum;
}

constexpr comm::Label kActivations{comm::Purpose::kActivations, "tensor"};

// The two are each other's gradients.
struct FanOut : torch::autograd::Function<FanOut> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const Communicator& group) {
    models::keep(context, group);
    return x.view_as(x);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {summed(models::kept<Communicator>(context), grads[0], kActivations), {}};
  }
};

struct Sum : torch::autograd::Function<Sum> {
  static at::Tensor forward(AutogradContext*, const at::Tensor& terms, const Communicator& group) {
    return summed(group, terms, kActivations);
  }
  static variable_list backward(AutogradContext*, variable_list grads) { return {grads[0], {}}; }
};

// From now on the gradient's rows from `first` on are sums over the group.
void sum_gradient(const models::NamedTensor& parameter, const Communicator& group, int64_t first) {
  parameter.tensor.register_hook([group, first, name = parameter.name](const at::Tensor& gradient) {
    if (!gradient.defined()) return gradient;  // it is put off (models/late_weights.h)
    at::NoGradGuard no_grad;
    const auto sum = gradient.clone(at::MemoryFormat::Contiguous);
    reduce(group, sum.narrow(0, first, sum.size(0) - first), comm::Reduce::kSum,
           {comm::Purpose::kGradients, name});
    return sum;
  });
}

}  // namespace

TensorAxis::TensorAxis(const Communicator& group, const spec::ModelSpec& spec)
    : group_(group),
      kv_group_(
          group.split(static_cast<int>(spec::heads_of(spec, {group.rank(), group.size()}).first_kv),
                      group.rank(), "tensor kv")) {
  spec::part_of(spec, part());  // which says what cannot be
}

at::Tensor TensorAxis::fan_out(const at::Tensor& x) const {
  return FanOut::apply(x, group_);
}

at::Tensor TensorAxis::sum(const at::Tensor& terms) const {
  return Sum::apply(terms, group_);
}

void TensorAxis::add_up(const at::Tensor& x) const {
  reduce(group_, x, comm::Reduce::kSum, kActivations);
}

void TensorAxis::largest(const at::Tensor& x) const {
  reduce(group_, x, comm::Reduce::kMax, kActivations);
}

at::Tensor TensorAxis::gather(const at::Tensor& columns, int64_t all) const {
  at::NoGradGuard no_grad;
  const int64_t rows = columns.numel() / columns.size(-1), ranks = group_.size();
  const int64_t widest = even_share(all, 0, ranks).count;
  const auto own = at::zeros({rows, widest}, columns.options());
  own.narrow(1, 0, columns.size(-1)).copy_(columns.reshape({rows, -1}));
  const auto gathered = at::zeros({ranks, rows, widest}, columns.options());
  group_.all_gather(
      {own.const_data_ptr(), static_cast<size_t>(own.numel()), dtype_of(own)},
      {gathered.mutable_data_ptr(), static_cast<size_t>(gathered.numel()), dtype_of(own)},
      kActivations);
  std::vector<at::Tensor> parts;
  for (int64_t r = 0; r < ranks; ++r)
    parts.push_back(gathered[r].narrow(1, 0, even_share(all, r, ranks).count));
  auto shape = columns.sizes().vec();
  shape.back() = all;
  return at::cat(parts, 1).view(shape);
}

void TensorAxis::require_same(std::string_view name, const at::Tensor& x) const {
  {
    const std::lock_guard lock(mutex_);
    if (!compared_.emplace(name).second) return;
  }
  const auto values = x.contiguous();
  const auto* value = values.const_data_ptr<int64_t>();
  std::string text;
  for (int64_t i = 0; i < values.numel(); ++i)
    text += std::to_string(value[i]) + ((i + 1) % values.size(-1) == 0 ? '\n' : ' ');
  comm::require_same(group_, std::string(name) + " of the first batch", text);
}

void TensorAxis::share_gradients(const models::Program& program) const {
  using spec::Part;
  const int64_t key_and_value = 2 * program.spec().head_dim;  // rows
  for (int b = 0; b < program.blocks(); ++b)
    for (size_t i = 0; i < program.parameters(b).size(); ++i) {
      const auto& tensor = program.parameters(b)[i];
      switch (program.parameter_specs(b)[i].part) {
        case Part::kQueryNorm:
        case Part::kKeyNorm:
          sum_gradient(tensor, group_, 0);
          break;
        case Part::kKey:
        case Part::kValue:
          if (kv_group_.size() > 1) sum_gradient(tensor, kv_group_, 0);
          break;
        case Part::kQkv:  // one key and value, after the queries
          if (kv_group_.size() > 1)
            sum_gradient(tensor, kv_group_, tensor.tensor.size(0) - key_and_value);
          break;
        default:
          break;
      }
    }
}

}  // namespace hydrofoil::parallel
