// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/cross_entropy.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/even_share.h"
#include "hydrofoil/models/cross_entropy_chunks.h"
#include "hydrofoil/models/layers.h"
#include "hydrofoil/models/product.h"
#include "hydrofoil/spec/loss_pieces.h"

namespace hydrofoil::models {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Wanted {
  bool hidden = false, weight = false, bias = false;
  bool any() const { return hidden || weight || bias; }
};
struct Result {
  at::Tensor sum;          // fp32 scalar
  at::Tensor hidden_grad;  // [N, H], undefined when not wanted
  at::Tensor weight_grad;  // [V, H], fp32, undefined when not wanted
  at::Tensor bias_grad;    // [V], fp32, undefined when not wanted
};

// One chunk: adds its loss to `loss` (fp64), and leaves the gradient of the product, softmax -
// one_hot but for a cap, in the returned logits when a gradient is wanted. hidden [n, H], labels
// [n, 1], as rows of this rank.
at::Tensor chunk_loss(const at::Tensor& hidden, const Head& head, const at::Tensor& labels,
                      at::Tensor& loss, bool want_grad) {
  at::Tensor slope;  // of the cap
  auto logits = capped_logits(hidden, head.weight.whole(), head, want_grad ? &slope : nullptr);
  const auto most = largest_of_rows(logits);
  if (head.seam) head.seam->largest(most);
  const Picked label(labels, 0, logits.size(1));
  auto total = totals_of_rows(logits, most);
  auto picked = (label.of(logits) - most).masked_fill_(label.inside.logical_not(), 0);
  if (head.seam) add_up_rows(*head.seam, total, picked);
  loss += (total.log() - picked).sum(at::kDouble);
  if (!want_grad) return {};
  logits = softmax_gradient(logits, most, total, label);
  if (slope.defined()) logits.mul_(slope);
  return logits;
}

// hidden [N, H], labels [N], as rows of this rank.
Result run(const at::Tensor& hidden, const Head& given, const at::Tensor& labels, Wanted wanted) {
  at::NoGradGuard no_grad;
  Result result;
  Head head = given;
  head.weight = given.weight.whole().to(given.type);
  if (head.bias.defined()) head.bias = head.bias.to(head.type);
  const auto& weight = head.weight.whole();
  auto loss = at::zeros({}, labels.options().dtype(at::kDouble));
  if (wanted.hidden) result.hidden_grad = at::empty_like(hidden);
  if (wanted.weight)
    result.weight_grad = at::zeros(weight.sizes(), hidden.options().dtype(at::kFloat));
  if (wanted.bias)
    result.bias_grad = at::zeros(head.bias.sizes(), hidden.options().dtype(at::kFloat));
  const int64_t rows = hidden.size(0), step = spec::loss_rows(rows, head.most_rows());
  for (int64_t begin = 0; begin < rows; begin += step) {
    const auto count = std::min(step, rows - begin);
    const auto h = hidden.narrow(0, begin, count);
    auto grad =
        chunk_loss(h, head, labels.narrow(0, begin, count).unsqueeze(1), loss, wanted.any());
    if (grad.defined()) grad = grad.to(hidden.scalar_type());
    if (wanted.hidden) result.hidden_grad.narrow(0, begin, count).copy_(product(grad, weight.t()));
    if (wanted.weight) add_weight_grad(grad, h, result.weight_grad);
    if (wanted.bias) result.bias_grad.add_(grad.sum(0));
  }
  result.sum = loss.to(at::kFloat);
  return result;
}

// Hands out the gradients that `run` made, once.
struct Wire : torch::autograd::Function<Wire> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor&, const at::Tensor&,
                            const std::optional<at::Tensor>&, const Result& result) {
    context->saved_data["hidden"] = result.hidden_grad;
    context->saved_data["weight"] = result.weight_grad;
    context->saved_data["bias"] = result.bias_grad;
    return result.sum;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    auto saved = std::exchange(context->saved_data, {});
    TORCH_CHECK(!saved.empty(), "linear_cross_entropy: its gradients were already taken");
    // A scale of 1, the usual case, would cost a pass over [V, H].
    const auto& scale = grads[0];
    const bool scales = !scale.device().is_cpu() || scale.item<float>() != 1.0f;
    const auto take = [&](const char* name) {
      auto grad = std::move(saved[name]).toTensor();
      return grad.defined() && scales ? grad.mul_(scale) : grad;
    };
    auto hidden = take("hidden"), weight = take("weight"), bias = take("bias");
    return {std::move(hidden), std::move(weight), std::move(bias), {}};
  }
};

void check_labels(const at::Tensor& labels, int64_t vocabulary) {
  if (labels.numel() == 0) return;
  const auto least = labels.min().item<int64_t>(), most = labels.max().item<int64_t>();
  if (least < 0 || most >= vocabulary)
    throw Error(ExitCode::kData,
                "label " + std::to_string(least < 0 ? least : most) +
                    " is outside the vocabulary of " + std::to_string(vocabulary),
                {}, "was the data made with another tokenizer?");
}

}  // namespace

int64_t Head::first() const {
  return seam ? even_share(vocabulary, seam->part().rank, seam->part().ranks).begin : 0;
}

int64_t Head::most_rows() const {
  return seam ? even_share(vocabulary, 0, seam->part().ranks).count : weight.count();
}

at::Tensor logits(const at::Tensor& hidden, const Head& head) {
  std::vector<at::Tensor> parts;
  head.weight.for_each([&](const at::Tensor& tile, int64_t first) {
    const auto bias = head.bias.defined() ? head.bias.narrow(0, first, tile.size(0)) : head.bias;
    parts.push_back(linear(hidden, {.weight = tile, .bias = bias, .type = head.type}));
  });
  auto all = parts.size() == 1 ? parts.front() : at::cat(parts, -1);
  if (head.seam) all = head.seam->gather(all, head.vocabulary);
  return head.softcap == 0 ? all : at::tanh(all / head.softcap) * head.softcap;
}

LossSum linear_cross_entropy(const at::Tensor& hidden, const Head& head, const at::Tensor& labels) {
  RECORD_USER_SCOPE("linear_cross_entropy");
  if (head.seam) head.seam->require_same("labels", labels);
  const auto input = head.seam ? head.seam->fan_out(hidden) : hidden;
  auto rows = input.reshape({-1, input.size(-1)}).to(head.type);
  auto targets = labels.reshape({-1});
  const auto labelled = targets.ne(kIgnoreLabel).nonzero().squeeze(1);
  if (labelled.numel() != targets.numel()) {  // unlabelled rows cost nothing
    rows = rows.index_select(0, labelled);
    targets = targets.index_select(0, labelled);
  }
  check_labels(targets, head.count());
  if (head.seam) targets = targets - head.first();
  const auto weight = static_cast<double>(labelled.numel());
  if (!head.weight.is_whole()) return {tiled_cross_entropy(rows, head, targets), weight};
  const auto wants = [](const at::Tensor& t) {
    return at::GradMode::is_enabled() && t.defined() && t.requires_grad();
  };
  const Wanted wanted{wants(rows), wants(head.weight.whole()), wants(head.bias)};
  auto result = run(rows, head, targets, wanted);
  const auto bias = head.bias.defined() ? std::optional(head.bias) : std::nullopt;
  return {wanted.any() ? Wire::apply(rows, head.weight.whole(), bias, result) : result.sum, weight};
}

}  // namespace hydrofoil::models
