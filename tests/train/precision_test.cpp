// SPDX-License-Identifier: Apache-2.0
// 16-bit parameters with fp32 master copies: stored and computed, at every stage.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>

#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/comm/meter.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/plan/memory_plan.h"
#include "hydrofoil/plan/wire_plan.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/snapshot.h"
#include "tests/support/ranks.h"
#include "tests/train/batches.h"

namespace hydrofoil::train::precision_test {
namespace {

spec::ModelSpec tiny() {
  return spec::model_spec_from_hf(
      R"({"model_type":"llama","vocab_size":97,"hidden_size":36,"num_hidden_layers":3,
      "num_attention_heads":6,"num_key_value_heads":2,"intermediate_size":50,"max_position_embeddings":24,
      "tie_word_embeddings":true})",
      "test");
}

struct Training {
  int ranks = 1, stage = 0;
  DType storage = DType::kF32, compute = DType::kF32;
  DType accumulate = DType::kF32, wire = DType::kF32, states = DType::kF32;
  bool master = true;
  int64_t accumulation = 1, sequences = 2, steps = 6;
  size_t resident_bytes = 0;
  double lr = 1e-2;
  optim::LossScaleConfig loss_scale = {};
  double unit = 1;                   // what a token counts: losses and weights are multiplied by it
  std::set<int64_t> overflows = {};  // steps in which rank 0's loss is infinite
  // Autocast: weights of products, which travel as their gradients do.
  std::optional<DType> linear = {};
  spec::ParameterTypes types() const {
    return {.others = compute, .linear = linear.value_or(compute)};
  }
};
struct Step {
  double loss, norm, scale;
  bool applied;
  bool operator==(const Step&) const = default;
};

EngineOptions options_of(const Training& run) {
  return {.stage = run.stage,
          .accumulation = run.accumulation,
          .gradient_clipping = 0.5,
          .storage = run.storage,
          .accumulate = run.accumulate,
          .wire = run.wire,
          .states = run.states,
          .wire_as_parameters = run.linear.has_value(),
          .master = run.master,
          .loss_scale = run.loss_scale,
          .groups = {{.lr = run.lr, .weight_decay = 0.1}},
          .resident_bytes = run.resident_bytes};
}

StepResult train_step(Model& model, const Training& run, int64_t step) {
  const auto& group = model.engine->group();
  StepResult result;
  for (int64_t micro = 0; micro < run.accumulation; ++micro) {
    const int64_t index = (step * run.accumulation + micro) * group.size() + group.rank();
    const auto loss = batch_loss(*model.program, batch_at(index, run.sequences), false);
    const bool overflow = group.rank() == 0 && run.overflows.contains(step);
    const double factor = overflow ? std::numeric_limits<double>::infinity() : run.unit;
    model.engine->backward(loss.sum * factor, loss.weight * run.unit);
    result = model.engine->step();
  }
  return result;
}

// The steps as every rank saw them: all must agree.
std::vector<Step> train(const Training& run) {
  std::vector<std::vector<Step>> seen(static_cast<size_t>(run.ranks));
  test::run_ranks(run.ranks, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    Model model = make_model(group, tiny(), options_of(run), run.types());
    initialize(model, 3);
    for (int64_t step = 0; step < run.steps; ++step) {
      const auto result = train_step(model, run, step);
      seen[static_cast<size_t>(group.rank())].push_back(
          {result.loss, result.gradient_norm, result.loss_scale, result.applied});
    }
    model.engine->cache().check_integrity();
    group.barrier();
  });
  for (size_t rank = 1; rank < seen.size(); ++rank)
    for (size_t i = 0; i < seen[rank].size(); ++i)
      EXPECT_EQ(seen[rank][i].applied, seen[0][i].applied) << "rank " << rank << " step " << i;
  return seen[0];
}

struct Kind {
  DType storage, compute;
};
constexpr Kind kKinds[] = {{DType::kBF16, DType::kF32},  // stored bf16, computed fp32
                           {DType::kF32, DType::kBF16},  // bf16 throughout: a bf16 compute type
                           {DType::kF16, DType::kF32}};

TEST(Precision, StagesAreBitEqual) {
  for (const auto& [storage, compute] : kKinds)
    for (const int ranks : {1, 2, 3}) {
      const auto reference = train({.ranks = ranks, .storage = storage, .compute = compute});
      for (const int stage : {1, 2, 3})
        for (const size_t resident : {size_t{0}, size_t{1}})
          EXPECT_EQ(reference, train({.ranks = ranks,
                                      .stage = stage,
                                      .storage = storage,
                                      .compute = compute,
                                      .resident_bytes = resident}))
              << "stage " << stage << ", ranks " << ranks;
    }
}

TEST(Precision, RanksWithOneMicroBatchEqualOneRankWithMany) {
  for (const auto& [storage, compute] : kKinds)
    for (const int ranks : {2, 3}) {
      const auto one = train({.storage = storage, .compute = compute, .accumulation = ranks});
      EXPECT_EQ(one, train({.ranks = ranks, .stage = 3, .storage = storage, .compute = compute}));
    }
}

// The master copy is what keeps small updates: without it this fails by far.
TEST(Precision, TheLossFollowsThatOfFp32) {
  const auto reference = train({.steps = 40, .lr = 1e-3});
  for (const auto& [storage, compute] : kKinds) {
    const auto run = train({.ranks = 2,
                            .stage = 3,
                            .storage = storage,
                            .compute = compute,
                            .sequences = 1,
                            .steps = 40,
                            .lr = 1e-3});
    for (size_t i = 0; i < run.size(); ++i)
      EXPECT_NEAR(run[i].loss, reference[i].loss, 0.02 * reference[i].loss) << "step " << i;
  }
}

// Small gradients survive many additions, because they are added in fp32. (Later norms are those of
// weights that differ: Adam's first updates have the size of lr whatever the gradient's.)
TEST(Precision, ManyMicroBatchesEqualOneBigBatch) {
  for (const auto& [storage, compute] : kKinds) {
    const Training big{.storage = storage, .compute = compute, .sequences = 64, .steps = 4};
    Training many = big;
    many.accumulation = 64, many.sequences = 1;
    const auto a = train(big), b = train(many);
    EXPECT_NEAR(b[0].norm, a[0].norm, 1e-3 * a[0].norm);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(b[i].loss, a[i].loss, 1e-3 * a[i].loss);
  }
}

TEST(Precision, AnOverflowOnOneRankSkipsTheStepOnAllAndLowersTheScale) {
  const optim::LossScaleConfig scale{
      .dynamic = true, .initial = 1024, .window = 3, .hysteresis = 2};
  const std::set<int64_t> overflows{0, 1, 2, 9, 10, 19, 25};
  for (const int stage : {0, 1, 2, 3})
    for (const int ranks : {1, 3}) {
      const auto run = train({.ranks = ranks,
                              .stage = stage,
                              .storage = DType::kF16,
                              .sequences = 1,
                              .steps = 30,
                              .loss_scale = scale,
                              .overflows = overflows});
      optim::LossScaler expected(scale);
      for (size_t i = 0; i < run.size(); ++i) {
        EXPECT_EQ(run[i].applied, !overflows.contains(static_cast<int64_t>(i)));
        EXPECT_EQ(run[i].scale, expected.scale()) << "step " << i;
        expected.update(!run[i].applied);
      }
    }
}

// A scale is a power of two: it changes no bit of the result.
TEST(Precision, TheLossScaleDividesOut) {
  const auto plain = train({.storage = DType::kBF16});
  auto scaled = train({.storage = DType::kBF16, .loss_scale = {.initial = 4096}});
  for (auto& step : scaled) step.scale = 1;
  EXPECT_EQ(plain, scaled);
}

// Gradients and states in 16 bits, with and without master copies.
const Training kNarrow[] = {
    {.wire = DType::kBF16},
    {.storage = DType::kF16, .wire = DType::kF16},
    {.storage = DType::kBF16, .accumulate = DType::kBF16, .wire = DType::kBF16},
    {.storage = DType::kF16,
     .accumulate = DType::kF16,
     .wire = DType::kF16,
     .master = false,
     .loss_scale = {.initial = 1024}},
    {.storage = DType::kBF16, .accumulate = DType::kBF16, .wire = DType::kBF16, .master = false},
    {.storage = DType::kBF16,
     .accumulate = DType::kBF16,
     .wire = DType::kBF16,
     .states = DType::kBF16,
     .master = false},
    {.linear = DType::kBF16},
    {.loss_scale = {.initial = 1024}, .linear = DType::kF16}};

TEST(Precision, NarrowGradientsAndStatesGiveEqualBitsAtEveryStage) {
  for (Training run : kNarrow) {
    run.ranks = 3, run.steps = 3;
    const auto reference = train(run);
    for (const int stage : {1, 2, 3}) {
      run.stage = stage;
      EXPECT_EQ(reference, train(run)) << "stage " << stage;
    }
  }
}

TEST(Precision, NarrowGradientsAndStatesFollowTheLossOfFp32) {
  const auto reference = train({.steps = 40, .lr = 1e-3});
  for (Training run : kNarrow) {
    run.ranks = 2, run.stage = 3, run.sequences = 1, run.steps = 40, run.lr = 1e-3;
    const auto narrow = train(run);
    for (size_t i = 0; i < narrow.size(); ++i)
      EXPECT_NEAR(narrow[i].loss, reference[i].loss, 0.02 * reference[i].loss) << "step " << i;
  }
}

// Gradients of sums over many tokens would not fit into fp16.
TEST(Precision, Fp16OnTheWireDoesNotDependOnWhatATokenCounts) {
  for (const int stage : {0, 2}) {
    const Training run{.ranks = 2, .stage = stage, .wire = DType::kF16, .accumulation = 3};
    Training heavy = run;
    heavy.unit = std::exp2(30);
    EXPECT_EQ(train(run), train(heavy)) << "stage " << stage;
  }
}

TEST(Precision, AResumedRunGoesOnAsIfNothingHadHappened) {
  const auto folder = std::filesystem::path(testing::TempDir()) /
                      ("hydrofoil-precision-" + std::to_string(::getpid()));
  std::vector<Training> kinds(std::begin(kNarrow), std::end(kNarrow));
  for (const auto& [storage, compute] : kKinds)
    kinds.push_back({.storage = storage, .compute = compute});
  for (Training run : kinds) {
    std::filesystem::remove_all(folder);
    run.ranks = 2, run.stage = 3, run.steps = 8;
    run.loss_scale = {.dynamic = true, .initial = 64, .window = 2};
    const auto whole = train(run);
    test::run_ranks(2, [&](const comm::Communicator& group) {
      at::set_num_threads(1);
      {
        Model model = make_model(group, tiny(), options_of(run), run.types());
        initialize(model, 3);
        for (int64_t step = 0; step < 3; ++step) train_step(model, run, step);
        checkpoint::save(group, snapshot(*model.engine, {.step = 3, .attempts = 3}, {}),
                         {.root = folder, .keep = 1, .created_by = "test"});
      }
      Model model = make_model(group, tiny(), options_of(run), run.types());
      EXPECT_EQ(restore(*model.engine, checkpoint::Reader(folder)).step, 3);
      for (int64_t step = 3; step < run.steps; ++step) {
        const auto result = train_step(model, run, step);
        EXPECT_EQ(result.loss, whole[static_cast<size_t>(step)].loss);
        EXPECT_EQ(result.loss_scale, whole[static_cast<size_t>(step)].scale);
      }
      group.barrier();
    });
  }
  std::filesystem::remove_all(folder);
}

// Bytes by category and on the wire.
TEST(Precision, LedgerAndMeterEqualThePlan) {
  std::vector<Training> kinds(std::begin(kNarrow), std::end(kNarrow));
  for (const auto& [storage, compute] : kKinds)
    kinds.push_back({.storage = storage, .compute = compute});
  for (Training run : kinds)
    for (const int stage : {0, 1, 2, 3})
      test::run_ranks(3, [&](const comm::Communicator& group) {
        Training mine = run;
        mine.ranks = 3, mine.stage = stage, mine.accumulation = 2;
        const bool narrow = run.storage != DType::kF32 || run.compute != DType::kF32;
        plan::RunShape shape{.ranks = 3,
                             .stage = stage,
                             .accumulation = 2,
                             .sequence_length = kLength,
                             .parameter_bytes = narrow ? size_t{2} : size_t{4},
                             .compute_bytes = size_of(run.compute),
                             .gradient_bytes = size_of(run.accumulate),
                             .gradient_wire_bytes = size_of(run.wire)};
        shape.optimizer_widths = {size_of(run.states), size_of(run.states)};
        if (narrow && run.master) shape.optimizer_widths.push_back(4);
        if (const size_t width = run.linear ? size_of(*run.linear) : 0) {
          shape.linear = {.parameter = width,
                          .compute = width,
                          .gradient_wire = width,
                          .optimizer_widths = shape.optimizer_widths};
          shape.linear->optimizer_widths.push_back(4);
        }
        const auto model_plan = plan::model_of(tiny());
        EngineOptions options = options_of(mine);
        options.resident_bytes = plan::smallest_resident_bytes(model_plan, shape);
        shape.resident_bytes = options.resident_bytes;
        Model model = make_model(group, tiny(), options, run.types());
        initialize(model, 3);
        train_step(model, mine, 0);
        const auto before = group.meter().snapshot();
        train_step(model, mine, 1);
        const auto used = group.meter().snapshot() - before;
        const auto planned = plan::plan_memory(model_plan, shape);
        const auto& ledger = model.engine->ledger();
        EXPECT_EQ(ledger.peak_bytes(memory::Category::kParameters), planned.parameters());
        EXPECT_EQ(ledger.peak_bytes(memory::Category::kGradients), planned.gradients);
        EXPECT_EQ(ledger.peak_bytes(memory::Category::kOptimizer), planned.optimizer);
        const auto wire = plan::plan_wire(model_plan, shape);
        EXPECT_EQ(used.of({}, comm::Purpose::kGradients).bytes,
                  wire.all_reduce + wire.reduce_scatter);
        EXPECT_EQ(used.of({}, comm::Purpose::kParameters).bytes, wire.read);
        group.barrier();
      });
}

}  // namespace
}  // namespace hydrofoil::train::precision_test
