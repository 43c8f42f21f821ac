// SPDX-License-Identifier: Apache-2.0
// Ranks that share matrices train as ranks that do not: tp beside dp and sp, at every stage.
#include "hydrofoil/parallel/tensor.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/parallel/sequence.h"
#include "hydrofoil/train/snapshot.h"
#include "tests/support/scratch.h"
#include "tests/train/same_checkpoint.h"
#include "tests/train/training.h"

namespace hydrofoil::train::tensor_test {
namespace {

constexpr int64_t kSteps = 5, kRows = 2;

struct Case {
  int dp, sp, tp, stage;
  bool grouped = false;  // qwen3, else GPT-2
  DType storage = DType::kF32;
  bool recompute = false;

  spec::ModelSpec spec() const { return grouped ? tiny_qwen3() : tiny_gpt2(); }
  int ranks() const { return dp * sp * tp; }
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << "dp " << c.dp << " sp " << c.sp << " tp " << c.tp << " stage " << c.stage << " "
       << name_of(c.storage) << (c.grouped ? " grouped" : "") << (c.recompute ? " recomputed" : "");
}

Model model_on(const comm::Communicator& group, const Case& c) {
  at::set_num_threads(1);
  return make_model(group, c.spec(),
                    {.stage = c.stage,
                     .accumulation = 2 / c.dp,
                     .storage = c.storage,
                     .groups = {{.lr = 1e-3, .weight_decay = 0.1}}},
                    {}, {}, {.axes = {.sp = c.sp, .tp = c.tp}});
}

StepResult train_step_of(Model& model, const Case& c, int64_t step) {
  StepResult outcome;
  const Share& share = model.share;
  for (int64_t micro = 0; micro < 2 / c.dp; ++micro) {
    const int64_t index = 2 * step + micro * share.ranks + share.rank;
    const auto batch = parallel::part_of(batch_at(index, kRows), share.part, share.parts);
    const auto loss = batch_loss(*model.program, batch, c.recompute);
    model.engine->backward(loss.sum, loss.weight);
    outcome = model.engine->step();
  }
  return outcome;
}

struct Result {
  std::vector<double> losses, norms;
};
Result run(const Case& c) {
  Result result;
  test::run_ranks(c.ranks(), [&](const comm::Communicator& group) {
    Model model = model_on(group, c);
    initialize(model, 3);
    for (int64_t step = 0; step < kSteps; ++step) {
      const StepResult outcome = train_step_of(model, c, step);
      if (group.rank() != 0) continue;
      result.losses.push_back(outcome.loss);
      result.norms.push_back(outcome.gradient_norm);
    }
    group.barrier();
  });
  return result;
}

class Matrices : public testing::TestWithParam<Case> {};

TEST_P(Matrices, SharedByRanksTrainAsOnOneRank) {
  const Case& c = GetParam();
  Case alone{.dp = 1, .sp = 1, .tp = 1, .stage = 0};
  alone.grouped = c.grouped;
  alone.storage = c.storage;
  const Result want = run(alone), got = run(c);
  const double bound = c.storage == DType::kF32 ? 1e-5 : 1e-2;
  ASSERT_EQ(got.losses.size(), want.losses.size());
  for (size_t i = 0; i < want.losses.size(); ++i) {
    EXPECT_NEAR(got.losses[i], want.losses[i], bound * want.losses[i]) << i;
    EXPECT_NEAR(got.norms[i], want.norms[i], 10 * bound * want.norms[i]) << i;
  }
}
INSTANTIATE_TEST_SUITE_P(
    All, Matrices,
    testing::Values(Case{1, 1, 2, 0}, Case{1, 1, 3, 0}, Case{2, 1, 2, 1}, Case{2, 1, 2, 2},
                    Case{2, 1, 2, 3}, Case{1, 2, 2, 3}, Case{2, 2, 2, 0}, Case{2, 2, 2, 3},
                    Case{2, 1, 3, 2}, Case{1, 1, 4, 0, true}, Case{1, 1, 3, 2, true},
                    Case{2, 1, 4, 3, true}, Case{2, 2, 2, 1, true}, Case{1, 2, 4, 2, true},
                    Case{2, 1, 2, 3, false, DType::kF32, true},
                    Case{2, 1, 3, 1, true, DType::kF32, true},
                    Case{1, 1, 2, 0, false, DType::kBF16}, Case{2, 1, 3, 3, true, DType::kBF16}),
    case_name<Case>);

// The first weights, and what is saved under one mesh and loaded under another.
TEST(SharedMatrices, WeightsAndStatesAreTheSameOnAnyMesh) {
  const test::Scratch scratch;
  for (const bool grouped : {false, true}) {
    int saved = 0;
    const auto save = [&](const Case& c, const auto& prepare) {
      const auto root = std::filesystem::path(scratch.path()) /
                        (std::to_string(grouped) + "-" + std::to_string(saved++));
      test::run_ranks(c.ranks(), [&](const comm::Communicator& group) {
        Model model = model_on(group, c);
        prepare(model);
        checkpoint::save(group, snapshot(*model.engine, {.step = 2}, {}), {.root = root});
      });
      return root / checkpoint::step_name(2);
    };
    const auto first = [](Model& model) { initialize(model, 3); };
    const Case one{1, 1, 1, 0, grouped}, four{2, 1, 2, 3, grouped};
    expect_same_tensors(checkpoint::Reader(save(Case{2, 1, 3, 3, grouped}, first)),
                        checkpoint::Reader(save(one, first)));
    const checkpoint::Reader trained(save(four, [&](Model& model) {
      initialize(model, 3);
      for (int64_t step = 0; step < 2; ++step) train_step_of(model, four, step);
    }));
    for (const Case& other : {one, Case{1, 2, 1, 2, grouped}, Case{1, 1, 3, 1, grouped},
                              Case{2, 1, 3, 3, grouped}, Case{1, 2, 2, 3, grouped}})
      expect_same_tensors(
          checkpoint::Reader(save(other, [&](Model& model) { restore(*model.engine, trained); })),
          trained);
  }
}

}  // namespace
}  // namespace hydrofoil::train::tensor_test
