// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/evaluate.h"

#include <torch/csrc/autograd/grad_mode.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "hydrofoil/parallel/sequence.h"
#include "hydrofoil/train/stage_run.h"

namespace hydrofoil::train {

namespace {

// What a rank takes of all rows, `rows` at a time at most.
template <class Visit>
void for_each_batch(const Samples& samples, int64_t rows, const Share& share, const Visit& visit) {
  for (int64_t first = share.rank * rows; first < samples.rows(); first += rows * share.ranks)
    for (int64_t row = first, end = std::min(first + rows, samples.rows()); row < end;) {
      const auto whole = samples.in_order(row, end - row);
      visit(parallel::part_of(whole, share.part, share.parts));
      row += whole.tokens.size(0);
    }
}

using Sums = std::array<double, 3>;  // loss, labels, right ones; of this rank's rows

Sums sums_of(const Model& model, const Samples& samples, int64_t rows) {
  at::NoGradGuard no_grad;
  const bool classes = model.program->spec().head == spec::HeadKind::kClasses;
  Sums sums{0, 0, 0};
  for_each_batch(samples, rows, model.share, [&](const models::Batch& batch) {
    const auto hidden = models::hidden_states(*model.program, batch);
    const auto loss = model.program->loss(hidden, batch);
    sums[0] += loss.sum.item<double>();
    sums[1] += loss.weight;
    if (!classes) return;
    const auto likeliest = model.program->logits(hidden).argmax(-1);
    sums[2] += likeliest.eq(batch.labels).sum().item<double>();
  });
  return sums;
}

// The same through a pipeline. Stages in the middle take part in as many micro-batches as the
// others, and so read them too.
Sums sums_of_stages(const Model& model, const Samples& samples, int64_t rows) {
  constexpr size_t kAtOnce = 64;  // tokens of so many are little, and stages rarely run dry
  Sums sums{0, 0, 0};
  std::vector<models::Batch> batches;
  const auto flush = [&] {
    if (batches.empty()) return;
    const auto run = run_stage_forward(model, batches);
    sums[0] += run.loss, sums[1] += run.weight;
    batches.clear();
  };
  for_each_batch(samples, rows, model.share, [&](models::Batch batch) {
    batches.push_back(std::move(batch));
    if (batches.size() == kAtOnce) flush();
  });
  flush();
  return sums;
}

}  // namespace

Evaluation evaluate(const Model& model, const Samples& samples, int64_t rows) {
  const bool classes = model.program->spec().head == spec::HeadKind::kClasses;
  model.engine->begin_pass("eval");
  Sums sums = model.stage ? sums_of_stages(model, samples, rows) : sums_of(model, samples, rows);
  model.engine->begin_pass("train");
  model.engine->group().all_reduce({sums.data(), sums.size(), DType::kF64}, comm::Reduce::kSum,
                                   {comm::Purpose::kLoss, "evaluation"});
  return {.loss = sums[0] / sums[1],
          .tokens = static_cast<int64_t>(sums[1]),
          .total = sums[0],
          .accuracy = classes ? std::optional(sums[2] / sums[1]) : std::nullopt};
}

}  // namespace hydrofoil::train
