// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/rotary.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/reciprocal.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/rows.h"
#include "hydrofoil/models/fused.h"

namespace hydrofoil::models {
namespace {

using spec::RopeKind;
using spec::RopeScaling;

// In one pass. Rows beyond the angles are copied.
at::Tensor turn_rows(const at::Tensor& input, const at::Tensor& cos, const at::Tensor& sin,
                     bool interleaved) {
  const auto x = input.stride(-1) == 1 ? input : input.contiguous();
  const auto out = at::empty_like(x, x.options(), at::MemoryFormat::Contiguous);
  const auto length = x.size(1), heads = x.size(2), width = x.size(3), half = cos.size(-1);
  const float* from = x.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  const float *cosines = cos.const_data_ptr<float>(), *sines = sin.const_data_ptr<float>();
  const auto apply = interleaved ? kernels::rotate_neighbours : kernels::rotate;
  parallel_for(static_cast<size_t>(x.size(0) * length), 64, [&](size_t begin, size_t end) {
    for (auto token = static_cast<int64_t>(begin); token < static_cast<int64_t>(end); ++token) {
      const int64_t b = token / length, t = token % length;
      for (int64_t h = 0; h < heads; ++h) {
        float* row = to + (token * heads + h) * width;
        std::copy_n(from + b * x.stride(0) + t * x.stride(1) + h * x.stride(2), width, row);
        apply(row, cosines + t * half, sines + t * half, static_cast<size_t>(half));
      }
    }
  });
  return out;
}

// In fp32 whatever x is: the angles are.
at::Tensor turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                bool interleaved) {
  if (x.device().is_cpu() && x.scalar_type() == at::kFloat && x.numel() > 0)
    return turn_rows(x, cos.contiguous(), sin.contiguous(), interleaved);
  const auto half = cos.size(-1), rest = x.size(-1) - 2 * half;
  const auto first = interleaved ? x.slice(-1, 0, 2 * half, 2) : x.narrow(-1, 0, half);
  const auto second = interleaved ? x.slice(-1, 1, 2 * half, 2) : x.narrow(-1, half, half);
  auto turned_first = first * cos - second * sin, turned_second = second * cos + first * sin;
  const auto turned = (interleaved ? at::stack({turned_first, turned_second}, -1).flatten(-2)
                                   : at::cat({turned_first, turned_second}, -1))
                          .to(x.scalar_type());
  return rest == 0 ? turned : at::cat({turned, x.narrow(-1, 2 * half, rest)}, -1);
}

struct Rotate : torch::autograd::Function<Rotate> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& cos, const at::Tensor& sin, bool interleaved) {
    context->saved_data["cos"] = cos;
    context->saved_data["sin"] = sin;
    context->saved_data["interleaved"] = interleaved;
    return turn(x, cos, sin, interleaved);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto cos = context->saved_data["cos"].toTensor(),
               sin = context->saved_data["sin"].toTensor();
    return {
        turn(grads[0], cos, sin.neg(), context->saved_data["interleaved"].toBool()), {}, {}, {}};
  }
};

// Waves longer than the trained length are stretched by the factor, short ones kept, and those
// between mixed.
at::Tensor llama3(const at::Tensor& plain, const RopeScaling& s) {
  const auto trained = static_cast<double>(s.original_positions);
  const auto wave = at::reciprocal(plain) * (2 * std::numbers::pi);
  const auto stretched = at::where(wave > trained / s.low_frequency, plain / s.factor, plain);
  const auto smooth =
      (at::reciprocal(wave) * trained - s.low_frequency) / (s.high_frequency - s.low_frequency);
  const auto mixed = (1 - smooth) * stretched / s.factor + smooth * stretched;
  const auto between =
      (wave >= trained / s.high_frequency).logical_and(wave <= trained / s.low_frequency);
  return at::where(between, mixed, stretched);
}

// Dimensions that turn often within the trained length are kept, those that hardly turn are
// stretched, and a ramp lies between (YaRN, Peng et al. 2023).
at::Tensor yarn(const at::Tensor& power, int64_t dim, double theta, const RopeScaling& s) {
  const auto dimension_of = [&](double turns) {
    return static_cast<double>(dim) *
           std::log(static_cast<double>(s.original_positions) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = dimension_of(s.beta_fast), high = dimension_of(s.beta_slow);
  if (s.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;
  const auto index = at::arange(0, dim / 2, power.options());
  const auto kept = 1 - at::clamp((index - low) / (high - low), 0, 1);
  return at::reciprocal(power * s.factor) * (1 - kept) + at::reciprocal(power) * kept;
}

}  // namespace

RotaryTable::RotaryTable(const spec::ModelSpec& spec)
    : dim_(spec.turning_dim()),
      theta_(spec.rope_theta),
      positions_(spec.max_positions),
      scaling_(spec.rope_scaling) {}

RotaryTable::RotaryTable(const spec::ModelSpec& spec, double theta)
    : dim_(spec.turning_dim()), theta_(theta), positions_(spec.max_positions) {}

at::Tensor RotaryTable::frequencies(int64_t length, const at::Tensor& like) const {
  // In fp32 and in this order, as Hugging Face does: at position 1000 the last bit of a frequency
  // is worth 1e-4 of an angle.
  const auto fp32 = at::TensorOptions().dtype(at::kFloat).device(like.device());
  const auto exponent = at::arange(0, dim_, 2, fp32) / static_cast<double>(dim_);
  double theta = theta_;
  if (scaling_.kind == RopeKind::kDynamic) {
    const double stretch =
        static_cast<double>(std::max(length, positions_)) / static_cast<double>(positions_);
    const auto dim = static_cast<double>(dim_);
    theta *= std::pow(scaling_.factor * stretch - (scaling_.factor - 1), dim / (dim - 2));
  }
  const auto power = at::pow(theta, exponent);
  switch (scaling_.kind) {
    case RopeKind::kPlain:
    case RopeKind::kDynamic:
      return at::reciprocal(power);
    case RopeKind::kLinear:
      return at::reciprocal(power) / scaling_.factor;
    case RopeKind::kLlama3:
      return llama3(at::reciprocal(power), scaling_);
    case RopeKind::kYarn:
      return yarn(power, dim_, theta, scaling_);
  }
  throw std::logic_error("unknown rotary scaling");
}

std::pair<at::Tensor, at::Tensor> RotaryTable::rows(const SequencePart& part, int64_t count,
                                                    const at::Tensor& like) const {
  const int64_t length = part.whole(count);
  std::lock_guard lock(mutex_);
  const bool by_length = scaling_.kind == RopeKind::kDynamic && length > positions_;
  if (by_length || !cos_.defined() || cos_.size(0) < length || cos_.device() != like.device()) {
    at::NoGradGuard no_grad;
    const auto frequency = frequencies(length, like);
    const auto angle = at::arange(length, frequency.options()).view({-1, 1, 1}) * frequency;
    auto cos = at::cos(angle), sin = at::sin(angle);
    if (scaling_.attention_factor != 1)
      cos.mul_(scaling_.attention_factor), sin.mul_(scaling_.attention_factor);
    if (by_length) return {cos.narrow(0, part.first, count), sin.narrow(0, part.first, count)};
    cos_ = cos, sin_ = sin;
  }
  return {cos_.narrow(0, part.first, count), sin_.narrow(0, part.first, count)};
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  bool interleaved) {
  RECORD_USER_SCOPE("Rotate");
  return Rotate::apply(x, cos, sin, interleaved);
}

}  // namespace hydrofoil::models
