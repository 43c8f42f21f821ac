// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/fused.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <span>
#include <utility>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/rows.h"
#include "hydrofoil/models/layers.h"

namespace hydrofoil::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr size_t kRows = 64;  // that one thread takes at a time, and sums up in one place

// The last dimension of a tensor as rows, wherever they lie.
class RowSpans {
 public:
  explicit RowSpans(const at::Tensor& x) : rows_(x.reshape({-1, x.size(-1)})) {
    if (rows_.stride(1) != 1) rows_ = rows_.contiguous();
    data_ = rows_.const_data_ptr<float>();
  }
  size_t count() const { return static_cast<size_t>(rows_.size(0)); }
  std::span<const float> operator[](size_t row) const {
    return {data_ + static_cast<int64_t>(row) * rows_.stride(0),
            static_cast<size_t>(rows_.size(1))};
  }

 private:
  at::Tensor rows_;
  const float* data_;
};

// Contiguous.
class NewRows {
 public:
  static NewRows like(const at::Tensor& x) {
    return NewRows(at::empty_like(x, x.options(), at::MemoryFormat::Contiguous));
  }
  explicit NewRows(at::Tensor made)
      : tensor(std::move(made)), data_(tensor.mutable_data_ptr<float>()) {}
  float* operator[](size_t row) const {
    return data_ + static_cast<int64_t>(row) * tensor.size(-1);
  }
  at::Tensor tensor;

 private:
  float* data_;
};

template <class Visit>
void each_row(size_t rows, const Visit& visit) {
  parallel_for(rows, kRows, [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row) visit(row);
  });
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double epsilon) {
    context->save_for_backward({x, weight});
    context->saved_data["epsilon"] = epsilon;
    const RowSpans rows(x);
    const at::Tensor scale = weight.clone();  // by an operator: the weight may be released
    const float* by = scale.const_data_ptr<float>();
    const auto out = NewRows::like(x);
    each_row(rows.count(), [&](size_t row) {
      kernels::rms_norm(rows[row], by, static_cast<float>(epsilon), out[row]);
    });
    return out.tensor;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto epsilon = static_cast<float>(context->saved_data["epsilon"].toDouble());
    const RowSpans rows(saved[0]), grad(grads[0]);
    const at::Tensor scale = saved[1].clone();
    const float* by = scale.const_data_ptr<float>();
    const auto of_x = NewRows::like(saved[0]);
    const auto parts = static_cast<int64_t>((rows.count() + kRows - 1) / kRows);
    const NewRows of_weight(at::zeros({parts, scale.size(0)}, scale.options()));
    each_row(rows.count(), [&](size_t row) {
      kernels::rms_norm_backward(rows[row], by, grad[row].data(), epsilon, of_x[row],
                                 of_weight[row / kRows]);
    });
    return {of_x.tensor, of_weight.tensor.sum(0), {}};
  }
};

struct Gated : torch::autograd::Function<Gated> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up,
                            bool silu) {
    context->save_for_backward({gate, up});
    context->saved_data["silu"] = silu;
    const RowSpans gates(gate), ups(up);
    const auto out = NewRows::like(gate);
    const auto apply = silu ? kernels::silu_gated : kernels::gelu_tanh_gated;
    each_row(gates.count(), [&](size_t row) { apply(gates[row], ups[row].data(), out[row]); });
    return out.tensor;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const RowSpans gates(saved[0]), ups(saved[1]), grad(grads[0]);
    const auto of_gate = NewRows::like(saved[0]), of_up = NewRows::like(saved[1]);
    const auto apply = context->saved_data["silu"].toBool() ? kernels::silu_gated_backward
                                                            : kernels::gelu_tanh_gated_backward;
    each_row(gates.count(), [&](size_t row) {
      apply(gates[row], ups[row].data(), grad[row].data(), of_gate[row], of_up[row]);
    });
    return {of_gate.tensor, of_up.tensor, {}};
  }
};

}  // namespace

bool is_plain(const at::Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == at::kFloat && x.numel() > 0;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  RECORD_USER_SCOPE("RmsNorm");
  if (is_plain(x)) return RmsNorm::apply(x, weight, epsilon);
  return at::rms_norm(x, weight.sizes(), weight, epsilon);
}

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, spec::Activation activation) {
  RECORD_USER_SCOPE("Gated");
  const bool silu = activation == spec::Activation::kSilu;
  if (is_plain(gate) && (silu || activation == spec::Activation::kGeluTanh))
    return Gated::apply(gate, up, silu);
  return activate(gate, activation) * up;
}

}  // namespace hydrofoil::models
