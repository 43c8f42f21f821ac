// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/cross_entropy_chunks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/softmax.h"
#include "hydrofoil/models/product.h"
#include "hydrofoil/spec/loss_pieces.h"

namespace hydrofoil::models {
namespace {
bool kernels_take(const at::Tensor& logits) {
  const auto type = logits.scalar_type();
  return logits.device().is_cpu() && logits.is_contiguous() && logits.numel() > 0 &&
         (type == at::kFloat || type == at::kBFloat16);
}

// visit(row, its logits).
template <class Visit>
void each_row_of(const at::Tensor& logits, const Visit& visit) {
  const auto count = static_cast<size_t>(logits.size(1));
  const auto bytes = static_cast<size_t>(logits.element_size()) * count;
  const auto type = logits.scalar_type() == at::kFloat ? DType::kF32 : DType::kBF16;
  auto* data = static_cast<std::byte*>(logits.mutable_data_ptr());
  parallel_for(static_cast<size_t>(logits.size(0)), 1, [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row)
      visit(row, kernels::LogitRow{data + row * bytes, count, type});
  });
}

at::Tensor number_a_row(const at::Tensor& logits) {
  return at::empty({logits.size(0), 1}, logits.options().dtype(at::kFloat));
}
}  // namespace

at::Tensor capped_logits(const at::Tensor& hidden, const at::Tensor& weight, const Head& head,
                         at::Tensor* slope, int64_t first) {
  const auto bias = head.bias.defined() ? head.bias.narrow(0, first, weight.size(0)) : head.bias;
  auto logits = product(hidden, weight, bias);
  if (head.softcap == 0) return logits;
  logits = logits.to(at::kFloat);
  logits.div_(head.softcap).tanh_();
  if (slope) *slope = 1 - logits * logits;
  return logits.mul_(head.softcap);
}

at::Tensor largest_of_rows(const at::Tensor& logits) {
  if (!kernels_take(logits)) return logits.amax(1, /*keepdim=*/true).to(at::kFloat);
  auto out = number_a_row(logits);
  auto* most = out.mutable_data_ptr<float>();
  each_row_of(logits, [&](size_t row, const auto& x) { most[row] = kernels::largest(x); });
  return out;
}

at::Tensor totals_of_rows(const at::Tensor& logits, const at::Tensor& most) {
  if (!kernels_take(logits)) return (logits.to(at::kFloat) - most).exp_().sum(1, /*keepdim=*/true);
  auto out = number_a_row(logits);
  auto* totals = out.mutable_data_ptr<float>();
  const auto mosts = most.contiguous();
  const auto* shift = mosts.const_data_ptr<float>();
  each_row_of(logits, [&](size_t row, const auto& x) {
    totals[row] = kernels::exponentials(x, shift[row]);
  });
  return out;
}

at::Tensor softmax_gradient(at::Tensor logits, const at::Tensor& most, const at::Tensor& total,
                            const Picked& label) {
  if (!kernels_take(logits)) {
    auto grad = (logits.to(at::kFloat) - most).exp_().div_(total);
    return grad.scatter_add_(1, label.column, label.inside.to(at::kFloat).neg_());
  }
  const auto mosts = most.contiguous(), sums = total.contiguous();  // a column of what ranks added
  const auto *shift = mosts.const_data_ptr<float>(), *totals = sums.const_data_ptr<float>();
  const auto* column = label.column.const_data_ptr<int64_t>();
  const auto* inside = label.inside.const_data_ptr<bool>();
  each_row_of(logits, [&](size_t row, const auto& x) {
    const auto at = static_cast<size_t>(column[row]);
    const float share = std::exp(x[at] - shift[row]) / totals[row];
    kernels::softmax(x, shift[row], totals[row]);
    if (inside[row]) x.set(at, share - 1);  // before it is rounded
  });
  return logits;
}

void add_up_rows(const TensorSeam& seam, at::Tensor& total, at::Tensor& picked) {
  const auto both = at::cat({total, picked}, 1);
  seam.add_up(both);
  total = both.narrow(1, 0, 1);
  picked = both.narrow(1, 1, 1);
}

void add_weight_grad(const at::Tensor& grad, const at::Tensor& hidden, const at::Tensor& out) {
  const auto vocabulary = out.size(0), step = spec::head_gradient_rows(out.size(1));
  for (int64_t begin = 0; begin < vocabulary; begin += step) {
    const auto count = std::min(step, vocabulary - begin);
    out.narrow(0, begin, count).add_(product(grad.narrow(1, begin, count).t(), hidden.t()));
  }
}

}  // namespace hydrofoil::models
