// SPDX-License-Identifier: Apache-2.0
// Ranks that share sequences train as ranks that do not: sp beside dp, at every stage.
#include "hydrofoil/parallel/sequence.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "hydrofoil/train/evaluate.h"
#include "tests/train/training.h"

namespace hydrofoil::train::sequence_test {
namespace {

constexpr int64_t kSteps = 6, kRows = 2;

struct Case {
  int dp, sp, stage;
  DType storage = DType::kF32;
  bool recompute = false;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << "dp " << c.dp << " sp " << c.sp << " stage " << c.stage << " " << name_of(c.storage)
       << (c.recompute ? " recomputed" : "");
}

struct Result {
  std::vector<double> losses, norms;
  double held_out = 0;
};

Result run(const Case& c) {
  Result result;
  test::run_ranks(c.dp * c.sp, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    Model model = make_model(group, tiny_gpt2(),
                             {.stage = c.stage,
                              .accumulation = 2 / c.dp,
                              .storage = c.storage,
                              .groups = {{.lr = 1e-3, .weight_decay = 0.1}}},
                             {}, {}, {.axes = {.sp = c.sp}});
    initialize(model, 3);
    const Share& share = model.share;
    const MadeSamples samples;
    for (int64_t step = 0; step < kSteps; ++step) {
      StepResult outcome;
      for (int64_t micro = 0; micro < 2 / c.dp; ++micro) {
        const int64_t first = (2 * step + micro * share.ranks + share.rank) * kRows;
        const auto batch =
            parallel::part_of(samples.shuffled(0, first, kRows), share.part, share.parts);
        const auto loss = batch_loss(*model.program, batch, c.recompute);
        model.engine->backward(loss.sum, loss.weight);
        outcome = model.engine->step();
      }
      if (group.rank() != 0) continue;
      result.losses.push_back(outcome.loss);
      result.norms.push_back(outcome.gradient_norm);
    }
    const auto held_out = evaluate(model, samples, 2);
    EXPECT_EQ(held_out.tokens, samples.rows() * kLength);
    if (group.rank() == 0) result.held_out = held_out.loss;
    group.barrier();
  });
  return result;
}

class Sequences : public testing::TestWithParam<Case> {};

TEST_P(Sequences, TrainAsOneRankDoes) {
  const Case& c = GetParam();
  const Result want = run({.dp = 1, .sp = 1, .stage = 0, .storage = c.storage});
  const Result got = run(c);
  const double bound = c.storage == DType::kF32 ? 1e-5 : 1e-2;
  ASSERT_EQ(got.losses.size(), want.losses.size());
  for (size_t i = 0; i < want.losses.size(); ++i) {
    EXPECT_NEAR(got.losses[i], want.losses[i], bound * want.losses[i]) << i;
    EXPECT_NEAR(got.norms[i], want.norms[i], 10 * bound * want.norms[i]) << i;
  }
  EXPECT_NEAR(got.held_out, want.held_out, bound * want.held_out);
}
INSTANTIATE_TEST_SUITE_P(All, Sequences,
                         testing::Values(Case{1, 2, 0}, Case{1, 3, 1}, Case{1, 2, 2}, Case{1, 3, 3},
                                         Case{2, 2, 1}, Case{2, 2, 2}, Case{2, 2, 3}, Case{2, 3, 0},
                                         Case{2, 3, 3}, Case{1, 4, 0}, Case{1, 6, 3},
                                         Case{1, 2, 3, DType::kF32, true},
                                         Case{2, 2, 2, DType::kF32, true},
                                         Case{1, 2, 1, DType::kBF16}, Case{2, 2, 3, DType::kBF16}),
                         case_name<Case>);

}  // namespace
}  // namespace hydrofoil::train::sequence_test
