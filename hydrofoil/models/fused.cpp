// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/fused.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/convert.h"
#include "hydrofoil/kernels/rows.h"

namespace hydrofoil::models {
namespace {

using spec::Activation;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr size_t kRows = 64;  // that one thread takes at a time, and sums up in one place

using Room = std::vector<float>;  // of one row

// The last dimension of a tensor as rows of floats, wherever they lie.
class RowSpans {
 public:
  explicit RowSpans(const at::Tensor& x) : rows_(x.reshape({-1, x.size(-1)})) {
    if (rows_.stride(1) != 1) rows_ = rows_.contiguous();
    data_ = static_cast<const std::byte*>(rows_.const_data_ptr());
  }
  size_t count() const { return static_cast<size_t>(rows_.size(0)); }
  // Where it lies, or through the room: valid until that is used again.
  std::span<const float> at(size_t row, Room& room) const {
    const auto width = static_cast<size_t>(rows_.size(1));
    const auto* at = data_ + row * static_cast<size_t>(rows_.stride(0)) * rows_.itemsize();
    if (rows_.scalar_type() == at::kFloat) return {reinterpret_cast<const float*>(at), width};
    room.resize(width);
    kernels::widen({reinterpret_cast<const uint16_t*>(at), width}, room, DType::kBF16);
    return room;
  }

 private:
  at::Tensor rows_;
  const std::byte* data_;
};

// Contiguous, of the type and shape of another.
class NewRows {
 public:
  explicit NewRows(const at::Tensor& like)
      : tensor(at::empty_like(like, like.options(), at::MemoryFormat::Contiguous)),
        data_(static_cast<std::byte*>(tensor.mutable_data_ptr())),
        width_(static_cast<size_t>(like.size(-1))) {}
  // Where a row is to be written; done() brings it from the room to its place.
  float* at(size_t row, Room& room) const {
    if (is_float()) return reinterpret_cast<float*>(data_) + row * width_;
    room.resize(width_);
    return room.data();
  }
  void done(size_t row, const Room& room) const {
    if (is_float()) return;
    kernels::narrow(room, {reinterpret_cast<uint16_t*>(data_) + row * width_, width_},
                    DType::kBF16);
  }
  at::Tensor tensor;

 private:
  bool is_float() const { return tensor.scalar_type() == at::kFloat; }
  std::byte* data_;
  size_t width_;
};

// visit(row, rooms) of every row; the rooms are the thread's.
template <size_t kRooms, class Visit>
void each_row(size_t rows, const Visit& visit) {
  parallel_for(rows, kRows, [&](size_t begin, size_t end) {
    std::array<Room, kRooms> rooms;
    for (size_t row = begin; row < end; ++row) visit(row, rooms);
  });
}

// Sums of rows, each of kRows of them in one place.
class RowSums {
 public:
  RowSums(size_t rows, const at::Tensor& like)
      : parts_(at::zeros({static_cast<int64_t>((rows + kRows - 1) / kRows), like.size(0)},
                         like.options().dtype(at::kFloat))),
        data_(parts_.mutable_data_ptr<float>()) {}
  float* of(size_t row) const { return data_ + row / kRows * static_cast<size_t>(parts_.size(1)); }
  at::Tensor total() const { return parts_.sum(0); }

 private:
  at::Tensor parts_;
  float* data_;
};

// By an operator: the parameter may be released.
at::Tensor as_floats(const at::Tensor& parameter) {
  return parameter.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

// RMS norm, or with `centred` layer norm.
struct RowNorm : torch::autograd::Function<RowNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, bool centred, double epsilon) {
    context->save_for_backward({x, weight});
    context->saved_data["bias"] = bias.has_value();
    context->saved_data["centred"] = centred;
    context->saved_data["epsilon"] = epsilon;
    const RowSpans rows(x);
    const NewRows out(x);
    const auto scale = as_floats(weight), shift = bias ? as_floats(*bias) : at::Tensor();
    const float* by = scale.const_data_ptr<float>();
    const float* plus = bias ? shift.const_data_ptr<float>() : nullptr;
    each_row<2>(rows.count(), [&](size_t row, auto& rooms) {
      const auto from = rows.at(row, rooms[0]);
      float* to = out.at(row, rooms[1]);
      if (centred)
        kernels::layer_norm(from, by, plus, static_cast<float>(epsilon), to);
      else
        kernels::rms_norm(from, by, static_cast<float>(epsilon), to);
      out.done(row, rooms[1]);
    });
    return out.tensor;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto epsilon = static_cast<float>(context->saved_data["epsilon"].toDouble());
    const bool centred = context->saved_data["centred"].toBool();
    const bool biased = context->saved_data["bias"].toBool();
    const RowSpans rows(saved[0]), grad(grads[0]);
    const NewRows of_x(saved[0]);
    const auto scale = as_floats(saved[1]);
    const float* by = scale.const_data_ptr<float>();
    const RowSums of_weight(rows.count(), scale), of_bias(biased ? rows.count() : 0, scale);
    each_row<3>(rows.count(), [&](size_t row, auto& rooms) {
      const auto x = rows.at(row, rooms[0]);
      const float* g = grad.at(row, rooms[1]).data();
      float* to = of_x.at(row, rooms[2]);
      if (centred)
        kernels::layer_norm_backward(x, by, g, epsilon, to, of_weight.of(row),
                                     biased ? of_bias.of(row) : nullptr);
      else
        kernels::rms_norm_backward(x, by, g, epsilon, to, of_weight.of(row));
      of_x.done(row, rooms[2]);
    });
    return {of_x.tensor, of_weight.total(), biased ? of_bias.total() : at::Tensor(), {}, {}};
  }
};

Activation activation_of(AutogradContext* context) {
  return static_cast<Activation>(context->saved_data["activation"].toInt());
}

struct Activated : torch::autograd::Function<Activated> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, Activation activation) {
    context->save_for_backward({x});
    context->saved_data["activation"] = static_cast<int64_t>(activation);
    const RowSpans rows(x);
    const NewRows out(x);
    each_row<2>(rows.count(), [&](size_t row, auto& rooms) {
      kernels::activate(activation, rows.at(row, rooms[0]), out.at(row, rooms[1]));
      out.done(row, rooms[1]);
    });
    return out.tensor;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto activation = activation_of(context);
    const RowSpans rows(saved[0]), grad(grads[0]);
    const NewRows of_x(saved[0]);
    each_row<3>(rows.count(), [&](size_t row, auto& rooms) {
      kernels::activate_backward(activation, rows.at(row, rooms[0]), grad.at(row, rooms[1]).data(),
                                 of_x.at(row, rooms[2]));
      of_x.done(row, rooms[2]);
    });
    return {of_x.tensor, {}};
  }
};

struct Gated : torch::autograd::Function<Gated> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up,
                            Activation activation) {
    context->save_for_backward({gate, up});
    context->saved_data["activation"] = static_cast<int64_t>(activation);
    const RowSpans gates(gate), ups(up);
    const NewRows out(gate);
    each_row<3>(gates.count(), [&](size_t row, auto& rooms) {
      kernels::gated(activation, gates.at(row, rooms[0]), ups.at(row, rooms[1]).data(),
                     out.at(row, rooms[2]));
      out.done(row, rooms[2]);
    });
    return out.tensor;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto activation = activation_of(context);
    const RowSpans gates(saved[0]), ups(saved[1]), grad(grads[0]);
    const NewRows of_gate(saved[0]), of_up(saved[1]);
    each_row<5>(gates.count(), [&](size_t row, auto& rooms) {
      kernels::gated_backward(activation, gates.at(row, rooms[0]), ups.at(row, rooms[1]).data(),
                              grad.at(row, rooms[2]).data(), of_gate.at(row, rooms[3]),
                              of_up.at(row, rooms[4]));
      of_gate.done(row, rooms[3]);
      of_up.done(row, rooms[4]);
    });
    return {of_gate.tensor, of_up.tensor, {}};
  }
};

bool is_plain(const at::Tensor& x) {
  return x.device().is_cpu() && x.numel() > 0 &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  RECORD_USER_SCOPE("RmsNorm");
  if (is_plain(x)) return RowNorm::apply(x, weight, std::nullopt, false, epsilon);
  return at::rms_norm(x, weight.sizes(), weight, epsilon);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double epsilon) {
  RECORD_USER_SCOPE("LayerNorm");
  const auto shift = bias.defined() ? std::optional(bias) : std::nullopt;
  if (is_plain(x)) return RowNorm::apply(x, weight, shift, true, epsilon);
  return at::layer_norm(x, weight.sizes(), weight, shift, epsilon);
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  RECORD_USER_SCOPE("Activation");
  if (is_plain(x)) return Activated::apply(x, activation);
  switch (activation) {
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kRelu:
      return at::relu(x);
  }
  throw std::logic_error("unknown activation");
}

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, Activation activation) {
  RECORD_USER_SCOPE("Gated");
  if (is_plain(gate)) return Gated::apply(gate, up, activation);
  return activate(gate, activation) * up;
}

}  // namespace hydrofoil::models
