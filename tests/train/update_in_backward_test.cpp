// SPDX-License-Identifier: Apache-2.0
// Units that are updated in the middle of backward: the same training to the bit, gradients of two
// or three units instead of all.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/train/model.h"
#include "tests/support/scratch.h"
#include "tests/train/training.h"

namespace hydrofoil::train::update_in_backward_test {
namespace {

struct Training {
  int ranks = 1, stage = 0;
  bool in_backward = true;
  DType storage = DType::kF32, wire = DType::kF32;
  int64_t accumulation = 1;
  bool recompute = false;
  double clipping = 0;
  int64_t steps = 4;
  bool scaled = false;  // dynamically, from too high on
  std::optional<std::filesystem::path> files = {};
};

Model make(const comm::Communicator& group, const Training& run) {
  at::set_num_threads(1);
  EngineOptions options{.stage = run.stage,
                        .accumulation = run.accumulation,
                        .gradient_clipping = run.clipping,
                        .storage = run.storage,
                        .wire = run.wire,
                        .update_in_backward = run.in_backward,
                        .average_decay = 0.9,
                        .groups = {{.lr = 1e-2, .weight_decay = 0.1}}};
  if (run.files) {
    const auto tier = small_files(4096, *run.files);
    options.state_files = {.tier = tier};
    if (run.stage == 3) options.parameter_files = tier;
  }
  if (run.scaled) options.loss_scale = {.dynamic = true, .initial = std::ldexp(1.0, 24)};
  Model model = make_model(group, tiny_gpt2(/*layers=*/5), options);
  initialize(model, 3);
  return model;
}

std::vector<float> parameters_of(Model& model) {
  std::vector<float> all;
  model.engine->for_each_parameter([&](const auto& info, const auto& place) {
    const auto values = values_of(*model.engine, place, info);
    all.insert(all.end(), values.begin(), values.end());
  });
  return all;
}

struct Outcome {
  std::vector<double> losses, norms;
  std::vector<float> parameters;
  bool operator==(const Outcome&) const = default;
};

// `written`: to files of states, in all, after each step.
Outcome train(const Training& run, std::vector<uint64_t>* written = nullptr) {
  Outcome outcome;
  test::run_ranks(run.ranks, [&](const comm::Communicator& group) {
    Model model = make(group, run);
    for (int64_t step = 0; step < run.steps; ++step) {
      const auto result = train_step(model, step, run.recompute);
      EXPECT_TRUE(result.applied);
      if (group.rank() > 0) continue;
      if (written) written->push_back(model.engine->optimizer().store().counters().written_bytes);
      outcome.losses.push_back(result.loss);
      outcome.norms.push_back(result.gradient_norm);
    }
    const auto parameters = parameters_of(model);
    if (group.rank() == 0) outcome.parameters = parameters;
    group.barrier();
  });
  return outcome;
}

TEST(UpdateInBackward, ChangesNothingAtAnyStage) {
  const test::Scratch folder;
  for (const auto& [storage, accumulation] : {std::pair{DType::kF32, 1}, {DType::kBF16, 3}})
    for (const int ranks : {1, 3})
      for (const int stage : {0, 1, 2, 3}) {
        Training run{.ranks = ranks,
                     .stage = stage,
                     .in_backward = false,
                     .storage = storage,
                     .accumulation = accumulation,
                     .recompute = stage % 2 == 1};
        const auto expected = train(run);
        run.in_backward = true;
        EXPECT_EQ(train(run), expected) << "stage " << stage << ", ranks " << ranks << ", "
                                        << name_of(storage) << ", accumulation " << accumulation;
        if (stage < 2) continue;
        run.files = folder.path();
        EXPECT_EQ(train(run), expected) << "in files, stage " << stage << ", ranks " << ranks;
      }
}

TEST(UpdateInBackward, NorWithGradientsThatTravelInSixteenBits) {
  for (const int ranks : {1, 2})
    for (const int stage : {0, 1, 2}) {
      Training run{.ranks = ranks, .stage = stage, .in_backward = false, .wire = DType::kBF16};
      const auto expected = train(run);
      run.in_backward = true;
      EXPECT_EQ(train(run), expected) << "stage " << stage << ", ranks " << ranks;
    }
}

TEST(UpdateInBackward, HoldsTheGradientsOfThreeUnits) {
  for (const int ranks : {1, 2})
    for (const int stage : {0, 1, 2, 3})
      test::run_ranks(ranks, [&](const comm::Communicator& group) {
        Model model = make(group, {.stage = stage});
        for (int64_t step = 0; step < 2; ++step) train_step(model, step);
        const auto& cache = model.engine->cache();
        const auto& ledger = model.engine->ledger();
        size_t largest = 0;
        for (memory::UnitId unit = 0; unit < cache.units(); ++unit)
          largest = std::max(largest, cache.unit_bytes(unit));
        EXPECT_LE(ledger.peak_bytes(memory::Category::kGradients), 3 * largest)
            << "stage " << stage << ", ranks " << ranks;
        group.barrier();
      });
}

TEST(UpdateInBackward, WaitsForTheStepWhereNobodyKnowsWhichBackwardIsTheLast) {
  Outcome with, without;
  for (auto* outcome : {&without, &with})
    test::run_ranks(2, [&](const comm::Communicator& group) {
      Model model = make(group, {.stage = 2, .in_backward = outcome == &with, .accumulation = 0});
      for (int64_t step = 0; step < 3; ++step) {
        const auto result = train_step(model, step);
        if (group.rank() == 0) outcome->losses.push_back(result.loss);
      }
      group.barrier();
    });
  EXPECT_EQ(with, without);
}

// A loss that is none spoils the very first gradient: nothing has been updated yet.
TEST(UpdateInBackward, SkipsAStepWhoseLossIsNotFinite) {
  for (const int ranks : {1, 3})
    for (const int stage : {0, 1, 3}) {
      const auto expected = train({.ranks = ranks, .stage = stage});
      Outcome outcome;
      test::run_ranks(ranks, [&](const comm::Communicator& group) {
        Model model = make(group, {.stage = stage});
        for (int64_t step = 0; step < 4; ++step) {
          if (step == 2) {
            const auto loss = batch_loss(*model.program, batch_at(99), false);
            const float factor =
                group.rank() + 1 == ranks ? std::numeric_limits<float>::infinity() : 1;
            model.engine->backward(loss.sum * factor, loss.weight);
            EXPECT_FALSE(model.engine->step().applied);
          }
          const auto result = train_step(model, step);
          if (group.rank() == 0) outcome.losses.push_back(result.loss);
        }
        const auto parameters = parameters_of(model);
        if (group.rank() == 0) outcome.parameters = parameters;
        group.barrier();
      });
      EXPECT_EQ(outcome.losses, expected.losses) << "stage " << stage << ", ranks " << ranks;
      EXPECT_EQ(outcome.parameters, expected.parameters) << "as if never stepped";
    }
}

// One that appears later finds other units updated: every rank says so, at the same place.
TEST(UpdateInBackward, SaysWhereAStepIsHalfDone) {
  for (const int ranks : {1, 3})
    test::run_ranks(ranks, [&](const comm::Communicator& group) {
      Model model = make(group, {.stage = 2});
      const auto& spoiled = model.engine->tensor("transformer.h.1.mlp.c_fc.weight");
      if (group.rank() + 1 == ranks)
        spoiled.register_hook([](const at::Tensor& gradient) {
          return gradient * std::numeric_limits<float>::quiet_NaN();
        });
      try {
        train_step(model, 0);
        ADD_FAILURE() << "went on with parts of an update";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kNumeric) << error.line();
      }
      group.barrier();
    });
}

// Unless all that was written over is still there.
TEST(UpdateInBackward, TakesAHalfDoneStepBack) {
  const test::Scratch folder;
  for (const auto& [stage, storage] :
       {std::pair{1, DType::kBF16}, {2, DType::kBF16}, {3, DType::kBF16}, {3, DType::kF32}})
    for (const int ranks : {1, 3}) {
      const Training run{
          .ranks = ranks, .stage = stage, .storage = storage, .files = folder.path()};
      const auto expected = train(run);
      Outcome outcome;
      test::run_ranks(ranks, [&](const comm::Communicator& group) {
        Model model = make(group, run);
        for (int64_t step = 0; step < 4; ++step) {
          if (step % 2 == 0) {  // also the very first
            const auto& tensor = model.engine->tensor("transformer.h.2.mlp.c_fc.weight");
            const auto spoil = tensor.register_hook([&](const at::Tensor& gradient) {
              return group.rank() + 1 == ranks ? gradient / 0 : gradient;
            });
            EXPECT_FALSE(train_step(model, 99).applied);
            tensor.remove_hook(spoil);
          }
          const auto result = train_step(model, step);
          if (group.rank() > 0) continue;
          outcome.losses.push_back(result.loss);
          outcome.norms.push_back(result.gradient_norm);
        }
        const auto parameters = parameters_of(model);
        if (group.rank() == 0) outcome.parameters = parameters;
        group.barrier();
      });
      EXPECT_EQ(outcome, expected)
          << "stage " << stage << ", ranks " << ranks << ", " << name_of(storage);
    }
}

// A step that must be clipped after one that need not be is taken back and done again.
TEST(UpdateInBackward, GuessesWhatIsClipped) {
  const test::Scratch folder;
  for (const auto& [stage, storage] :
       {std::pair{1, DType::kBF16}, {2, DType::kF16}, {3, DType::kF32}})
    for (const int ranks : {1, 2, 3}) {
      SCOPED_TRACE(testing::Message() << "stage " << stage << ", ranks " << ranks);
      Training run{
          .ranks = ranks, .stage = stage, .in_backward = false, .storage = storage, .steps = 8};
      const auto norms = train(run).norms;
      size_t steepest = 2;
      for (size_t i = 3; i < norms.size(); ++i)
        if (norms[i] - norms[i - 1] > norms[steepest] - norms[steepest - 1]) steepest = i;
      run.clipping = (norms[steepest - 1] + norms[steepest]) / 2;
      const auto expected = train(run);
      run.in_backward = true;
      run.files = folder.path();
      std::vector<uint64_t> written;
      EXPECT_EQ(train(run, &written), expected);
      std::set<bool> seen;
      for (size_t i = 2; i < written.size(); ++i) {
        const auto clipped = [&](size_t step) { return expected.norms[step] > run.clipping; };
        const bool wrong = !clipped(i - 1) && clipped(i);
        seen.insert(wrong);
        const uint64_t walk = written[1] - written[0];
        EXPECT_EQ(written[i] - written[i - 1], (wrong ? 2 : 1) * walk) << i;
      }
      EXPECT_EQ(seen.size(), 2u);
    }
}

TEST(UpdateInBackward, GoesWithADynamicLossScaleThere) {
  const test::Scratch folder;
  std::vector<StepResult> results[2];
  for (const bool in_backward : {false, true})
    test::run_ranks(2, [&](const comm::Communicator& group) {
      Model model = make(group, {.ranks = 2,
                                 .stage = 2,
                                 .in_backward = in_backward,
                                 .storage = DType::kF16,
                                 .wire = DType::kF16,
                                 .scaled = true,
                                 .files = folder.path()});
      for (int64_t step = 0; step < 24; ++step) {
        const auto result = train_step(model, step);
        if (group.rank() == 0) results[in_backward ? 1 : 0].push_back(result);
      }
      group.barrier();
    });
  size_t skipped = 0;
  for (size_t step = 0; step < results[0].size(); ++step) {
    EXPECT_EQ(results[1][step].applied, results[0][step].applied) << step;
    EXPECT_EQ(results[1][step].loss, results[0][step].loss) << step;
    EXPECT_EQ(results[1][step].loss_scale, results[0][step].loss_scale) << step;
    skipped += results[0][step].applied ? 0 : 1;
  }
  EXPECT_GT(skipped, 0u);
  EXPECT_LT(skipped, results[0].size());
}

TEST(UpdateInBackward, RefusesWhatNeedsAllGradientsFirst) {
  test::run_ranks(1, [](const comm::Communicator& group) {
    const EngineOptions base{.gradient_clipping = 0, .update_in_backward = true};
    for (const int what : {0, 1, 2}) {
      EngineOptions options = base;
      if (what == 0) options.gradient_clipping = 1;
      if (what == 1) options.loss_scale.dynamic = true;
      if (what == 2) options.optimizer = "lamb";
      EXPECT_THROW(make_model(group, tiny_gpt2(/*layers=*/5), options), Error) << what;
    }
  });
}

}  // namespace
}  // namespace hydrofoil::train::update_in_backward_test
