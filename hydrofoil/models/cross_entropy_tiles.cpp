// SPDX-License-Identifier: Apache-2.0
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "hydrofoil/models/cross_entropy_chunks.h"
#include "hydrofoil/models/kept.h"
#include "hydrofoil/models/product.h"
#include "hydrofoil/spec/loss_pieces.h"

namespace hydrofoil::models {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// One loss between its forward and its backward.
struct Job {
  Head head;
  std::vector<int64_t> first;              // rows, by tile
  at::Tensor hidden;                       // [N, H]
  at::Tensor labels;                       // [N, 1], as rows of this rank
  at::Tensor log_total;                    // [N, 1] fp32: the log of the sum of exponentials
  double scale = 1;                        // of the gradients
  at::Tensor hidden_grad, bias_grad = {};  // fp32 [N, H]; fp32 [V]

  // visit(begin, count) of the rows.
  template <class Visit>
  void for_each_chunk(int64_t vocabulary, const Visit& visit) const {
    const int64_t rows = hidden.size(0), step = spec::loss_rows(rows, vocabulary);
    for (int64_t begin = 0; begin < rows; begin += step) visit(begin, std::min(step, rows - begin));
  }
};
using JobPointer = std::shared_ptr<Job>;

// The sum of losses. Softmax over tiles: a running maximum, and the sum of exponentials below it.
at::Tensor total_loss(Job& job) {
  const auto options = job.hidden.options().dtype(at::kFloat);
  const int64_t rows = job.hidden.size(0);
  auto most = at::full({rows, 1}, -std::numeric_limits<float>::infinity(), options);
  auto total = at::zeros({rows, 1}, options), picked = at::zeros({rows, 1}, options);
  for (size_t t = 0; t < job.first.size(); ++t) {
    const auto tile = job.head.weight.tiles[t].to(job.head.type);
    job.for_each_chunk(tile.size(0), [&](int64_t begin, int64_t count) {
      const auto part = [&](const at::Tensor& all) { return all.narrow(0, begin, count); };
      auto logits =
          capped_logits(part(job.hidden), tile, job.head, nullptr, job.first[t]).to(at::kFloat);
      const Picked label(part(job.labels), job.first[t], tile.size(0));
      part(picked).add_(label.of(logits));
      const auto top = at::maximum(part(most), logits.amax(1, /*keepdim=*/true));
      part(total).mul_((part(most) - top).exp_()).add_(logits.sub_(top).exp_().sum(1, true));
      part(most).copy_(top);
    });
  }
  if (const TensorSeam* seam = job.head.seam) {
    const auto own = most.clone();
    seam->largest(most);
    total.mul_((own - most).exp_());
    add_up_rows(*seam, total, picked);
  }
  job.log_total = total.log_().add_(most);
  return (job.log_total - picked).sum(at::kDouble).to(at::kFloat);
}

// Adds a tile's part to the gradient of the hidden states; its own, [v, H] in fp32, is the result.
at::Tensor tile_backward(Job& job, size_t t) {
  const auto& given = job.head.weight.tiles[t];
  const auto tile = given.to(job.head.type);
  const auto options = job.hidden.options().dtype(at::kFloat);
  auto result = given.requires_grad() ? at::zeros(tile.sizes(), options) : at::Tensor();
  job.for_each_chunk(tile.size(0), [&](int64_t begin, int64_t count) {
    const auto part = [&](const at::Tensor& all) { return all.narrow(0, begin, count); };
    const auto hidden = part(job.hidden);
    at::Tensor slope;
    auto grad = capped_logits(hidden, tile, job.head, &slope, job.first[t]).to(at::kFloat);
    grad.sub_(part(job.log_total)).exp_();
    const Picked label(part(job.labels), job.first[t], tile.size(0));
    grad.scatter_add_(1, label.column, label.inside.to(at::kFloat).neg_());
    if (slope.defined()) grad.mul_(slope);
    if (job.scale != 1) grad.mul_(job.scale);
    if (job.bias_grad.defined())
      job.bias_grad.narrow(0, job.first[t], tile.size(0)).add_(grad.sum(0));
    grad = grad.to(hidden.scalar_type());
    part(job.hidden_grad).add_(product(grad, tile.t()));
    if (result.defined()) add_weight_grad(grad, hidden, result);
  });
  return result;
}

// Gives a tile its gradient in a backward of its own.
struct TileGradient : torch::autograd::Function<TileGradient> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& tile, const JobPointer& job,
                            int64_t index) {
    keep(context, job);
    context->saved_data["index"] = index;
    return at::empty({0}, tile.options().dtype(at::kFloat).requires_grad(false));
  }
  static variable_list backward(AutogradContext* context, variable_list) {
    const auto& job = kept<JobPointer>(context);
    return {tile_backward(*job, static_cast<size_t>(context->saved_data["index"].toInt())), {}, {}};
  }
};

struct TiledLoss : torch::autograd::Function<TiledLoss> {
  // The anchor stands for the tiles, which may want gradients where nothing else does.
  static at::Tensor forward(AutogradContext* context, const at::Tensor&,
                            const std::optional<at::Tensor>&, const at::Tensor&,
                            const JobPointer& job) {
    keep(context, job);
    return total_loss(*job);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto job = kept<JobPointer>(context);
    context->saved_data.clear();
    const auto options = job->hidden.options().dtype(at::kFloat);
    job->scale = grads[0].item<double>();
    job->hidden_grad = at::zeros(job->hidden.sizes(), options);
    if (job->head.bias.defined() && context->needs_input_grad(1))
      job->bias_grad = at::zeros(job->head.bias.sizes(), options);
    for (size_t t = job->first.size(); t-- > 0;) {
      const auto& tile = job->head.weight.tiles[t];
      if (!tile.requires_grad()) {
        tile_backward(*job, t);
        continue;
      }
      at::AutoGradMode record(true);
      const auto end = TileGradient::apply(tile, job, static_cast<int64_t>(t));
      torch::autograd::backward({end}, {at::empty_like(end)});
    }
    return {job->hidden_grad.to(job->hidden.scalar_type()), job->bias_grad, {}, {}};
  }
};

}  // namespace

at::Tensor tiled_cross_entropy(const at::Tensor& hidden, const Head& head,
                               const at::Tensor& labels) {
  auto job = std::make_shared<Job>();
  job->head = head;
  if (head.bias.defined())  // its unit is used once
    job->head.bias = head.bias.detach().clone().to(head.type);
  head.weight.for_each([&](const at::Tensor&, int64_t row) { job->first.push_back(row); });
  job->hidden = hidden.detach();
  job->labels = labels.unsqueeze(1);
  if (!at::GradMode::is_enabled()) return total_loss(*job);
  const auto anchor = at::empty({0}, hidden.options().dtype(at::kFloat)).set_requires_grad(true);
  const auto bias = head.bias.defined() ? std::optional(head.bias) : std::nullopt;
  return TiledLoss::apply(hidden, bias, anchor, job);
}

}  // namespace hydrofoil::models
