// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/evaluate.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <algorithm>
#include <array>

namespace hydrofoil::train {
namespace {

// Positions [begin, end) as whole windows of `length`, or one shorter window when they are fewer.
models::Batch window_batch(const data::TokenFile& tokens, int64_t begin, int64_t end,
                           int64_t length) {
  length = std::min(length, end - begin);
  const int64_t sequences = (end - begin) / length;
  models::Batch batch{.tokens = at::empty({sequences, length}, at::kLong),
                      .labels = at::empty({sequences, length}, at::kLong)};
  auto* inputs = batch.tokens.mutable_data_ptr<int64_t>();
  auto* labels = batch.labels.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < sequences * length; ++i) {
    inputs[i] = tokens.at(begin + i);
    labels[i] = tokens.at(begin + i + 1);
  }
  return batch;
}

}  // namespace

Evaluation evaluate(const Model& model, const data::TokenFile& tokens, int64_t length,
                    int64_t sequences) {
  at::NoGradGuard no_grad;
  model.engine->begin_pass("eval");
  const auto& group = model.engine->group();
  const int64_t stride = length * sequences,
                positions = tokens.size() - 1;  // that have a next token
  std::array<double, 2> sums{0, 0};
  for (int64_t first = group.rank() * stride; first < positions; first += stride * group.size())
    for (int64_t begin = first, end = std::min(first + stride, positions); begin < end;) {
      const auto batch = window_batch(tokens, begin, end, length);
      const auto loss = batch_loss(*model.program, batch, /*recompute=*/false);
      sums[0] += loss.sum.item<double>();
      sums[1] += loss.weight;
      begin += batch.tokens.numel();
    }
  model.engine->begin_pass("train");
  group.all_reduce({sums.data(), sums.size(), DType::kF64}, comm::Reduce::kSum,
                   {comm::Purpose::kLoss, "evaluation"});
  return {.loss = sums[0] / sums[1], .tokens = static_cast<int64_t>(sums[1]), .total = sums[0]};
}

}  // namespace hydrofoil::train
