// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/evaluate.h"

#include <torch/csrc/autograd/grad_mode.h>

#include <algorithm>
#include <array>

#include "hydrofoil/parallel/sequence.h"

namespace hydrofoil::train {

Evaluation evaluate(const Model& model, const Samples& samples, int64_t rows) {
  at::NoGradGuard no_grad;
  model.engine->begin_pass("eval");
  const auto& group = model.engine->group();
  const bool classes = model.program->spec().head == spec::HeadKind::kClasses;
  std::array<double, 3> sums{0, 0, 0};  // loss, labels, right ones
  const Share& share = model.share;
  for (int64_t first = share.rank * rows; first < samples.rows(); first += rows * share.ranks)
    for (int64_t row = first, end = std::min(first + rows, samples.rows()); row < end;) {
      const auto whole = samples.in_order(row, end - row);
      const auto batch = parallel::part_of(whole, share.part, share.parts);
      const auto hidden = models::hidden_states(*model.program, batch);
      const auto loss = model.program->loss(hidden, batch);
      sums[0] += loss.sum.item<double>();
      sums[1] += loss.weight;
      if (classes) {
        const auto likeliest = model.program->logits(hidden).argmax(-1);
        sums[2] += likeliest.eq(batch.labels).sum().item<double>();
      }
      row += whole.tokens.size(0);
    }
  model.engine->begin_pass("train");
  group.all_reduce({sums.data(), sums.size(), DType::kF64}, comm::Reduce::kSum,
                   {comm::Purpose::kLoss, "evaluation"});
  return {.loss = sums[0] / sums[1],
          .tokens = static_cast<int64_t>(sums[1]),
          .total = sums[0],
          .accuracy = classes ? std::optional(sums[2] / sums[1]) : std::nullopt};
}

}  // namespace hydrofoil::train
