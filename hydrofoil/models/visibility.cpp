// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/visibility.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <limits>

#include "hydrofoil/spec/alibi.h"

namespace hydrofoil::models {

Visibility::Visibility(const spec::ModelSpec& spec, int64_t window, spec::TensorPart part)
    : window_(window) {
  if (spec.positions != spec::Positions::kAlibi) return;
  const auto all = spec::alibi_slopes(spec.heads);
  const auto heads = spec::heads_of(spec, part);
  slopes_.assign(all.begin() + heads.first, all.begin() + heads.first + heads.count);
  in_bfloat16_ = spec.alibi_before_scale;
  if (spec.alibi_before_scale) bias_scale_ = 1 / std::sqrt(static_cast<double>(spec.head_dim));
}

at::Tensor Visibility::seen(int64_t length, const at::Tensor& like) const {
  const auto position =
      at::arange(length, at::TensorOptions().dtype(at::kLong).device(like.device()));
  const auto query = position.unsqueeze(1), key = position.unsqueeze(0);
  auto seen = key <= query;
  if (window_ > 0) seen.logical_and_(key > query - window_);
  return seen;
}

at::Tensor Visibility::bias(int64_t keys, const at::Tensor& like) const {
  const auto type = in_bfloat16_ ? at::kBFloat16 : at::kFloat;
  const auto slope = at::tensor(slopes_).to(like.device(), type).view({1, -1, 1, 1});
  // Grows with the key's position alone: what a query's own position adds, softmax takes away.
  const auto position =
      at::arange(keys, at::TensorOptions().dtype(at::kLong).device(like.device()));
  const auto bias = (slope * position).to(at::kFloat);
  return bias_scale_ == 1 ? bias : bias * bias_scale_;
}

at::Tensor Visibility::mask(int64_t length, const at::Tensor& like) const {
  if (slopes_.empty() && (window_ == 0 || length <= window_)) return {};
  std::lock_guard lock(mutex_);
  if (last_.defined() && last_.size(-2) == length && last_.device() == like.device()) return last_;
  at::NoGradGuard no_grad;
  last_ = seen(length, like);
  if (!slopes_.empty())
    last_ = bias(length, like)
                .masked_fill(last_.logical_not(), -std::numeric_limits<float>::infinity())
                .to(like.scalar_type());
  return last_;
}

}  // namespace hydrofoil::models
