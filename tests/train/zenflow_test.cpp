// SPDX-License-Identifier: Apache-2.0
// ZenFlow against a plain simulation of it, element by element in double, whatever the stage, the
// ranks and where states lie.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"
#include "hydrofoil/train/engine.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/snapshot.h"
#include "tests/support/scratch.h"
#include "tests/train/training.h"

namespace hydrofoil::train::zenflow_test {
namespace {

constexpr int64_t kRows = 13, kColumns = 29, kVector = 17;
constexpr size_t kMatrix = kRows * kColumns, kAll = kMatrix + kVector;
constexpr double kLr = 1e-2, kDecay = 0.1, kEps = 1e-8;

// Of one rank's micro-batch; some columns are steeper than others, and which ones changes.
std::vector<float> gradient_at(int64_t index) {
  std::vector<float> values(kAll);
  const Philox random(7, RandomUse::kTest);
  for (size_t i = 0; i < kAll; ++i) {
    const auto draw = random.uniform(static_cast<uint64_t>(index) * kAll + i);
    const size_t column = (i % kColumns + static_cast<size_t>(index) / 8) % kColumns;
    values[i] = static_cast<float>((draw - 0.4) * (1.0 + static_cast<double>(column * column)));
  }
  return values;
}

struct Case {
  zero::ZenflowOptions zenflow;
  int ranks = 1, stage = 2;
  int64_t accumulation = 1, steps = 12;
  double clipping = 0;
  bool files = false;
  DType storage = DType::kF32;
};

// What zenflow.h says, written down once more.
class Simulation {
 public:
  explicit Simulation(const Case& c) : case_(c) {}

  void step(const std::vector<double>& gradient, double weight) {
    std::vector<double> step_weights(kColumns);
    for (size_t i = 0; i < kMatrix; ++i) {
      weights_[i % kColumns] += std::abs(gradient[i]);
      step_weights[i % kColumns] += std::abs(gradient[i]);
    }
    const bool first = chosen_.empty();
    std::vector<double> now(kAll);
    for (size_t i = 0; i < kAll; ++i) (!first && is_chosen(i) ? now : gathered_)[i] += gradient[i];
    weight_ += weight;
    ++steps_, ++since_rest_, ++since_choice_;
    const bool rest = first || rest_is_due(step_weights);
    ++chosen_count_;
    if (!first) update(now, weight, chosen_count_, [&](size_t i) { return is_chosen(i); });
    if (!rest) return;
    ++rest_count_;
    const auto count = [&](size_t i) { return i < kMatrix ? rest_count_ : chosen_count_; };
    update(gathered_, weight_, count, [&](size_t i) { return first || !is_chosen(i); });
    const auto& z = case_.zenflow;
    if (first ? steps_ >= z.warm_up : z.choice_interval > 0 && since_choice_ >= z.choice_interval)
      choose();
    std::ranges::fill(gathered_, 0);
    weight_ = chosen_mean_ = rest_weight_ = 0;
    since_rest_ = 0;
    ++rests;
  }
  std::vector<double> values = std::vector<double>(kAll, 0.5);
  int rests = 0, choices = 0;

 private:
  bool is_chosen(size_t i) const {
    return i >= kMatrix || std::ranges::count(chosen_, i % kColumns) > 0;
  }
  bool rest_is_due(const std::vector<double>& weights) {
    const auto& z = case_.zenflow;
    if (z.rest_interval > 0) return since_rest_ >= z.rest_interval;
    double chosen = 0, all = 0;
    for (size_t c = 0; c < kColumns; ++c) {
      all += weights[c];
      chosen += is_chosen(c) ? weights[c] : 0;
    }
    chosen_mean_ += (chosen / z.share - chosen_mean_) / static_cast<double>(since_rest_);
    rest_weight_ += (all - chosen) / (1 - z.share);
    return rest_weight_ >= chosen_mean_;
  }
  void choose() {
    std::vector<size_t> order(kColumns);
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return weights_[a] > weights_[b]; });
    order.resize(std::max<size_t>(1, std::llround(case_.zenflow.share * kColumns)));
    chosen_ = order;
    std::ranges::fill(weights_, 0);
    since_choice_ = 0;
    ++choices;
  }
  template <class Applies>
  void update(const std::vector<double>& gradient, double weight, int64_t count,
              const Applies& applies) {
    update(gradient, weight, [count](size_t) { return count; }, applies);
  }
  template <class Count, class Applies>
  void update(const std::vector<double>& gradient, double weight, const Count& count,
              const Applies& applies) {
    double norm = 0;
    for (size_t i = 0; i < kAll; ++i) norm += applies(i) ? gradient[i] * gradient[i] : 0;
    norm = std::sqrt(norm) / weight;
    const double clip = case_.clipping > 0 ? std::min(1.0, case_.clipping / (norm + 1e-6)) : 1;
    for (size_t i = 0; i < kAll; ++i) {
      if (!applies(i)) continue;
      const double g = gradient[i] / weight * clip, t = static_cast<double>(count(i));
      m_[i] = 0.9 * m_[i] + 0.1 * g;
      v_[i] = 0.999 * v_[i] + 0.001 * g * g;
      values[i] -= kLr * kDecay * values[i];
      values[i] -= kLr / (1 - std::pow(0.9, t)) * m_[i] /
                   (std::sqrt(v_[i] / (1 - std::pow(0.999, t))) + kEps);
    }
  }

  const Case& case_;
  std::vector<double> weights_ = std::vector<double>(kColumns),
                      gathered_ = std::vector<double>(kAll), m_ = gathered_, v_ = gathered_;
  std::vector<size_t> chosen_;
  double weight_ = 0, chosen_mean_ = 0, rest_weight_ = 0;
  int64_t steps_ = 0, since_rest_ = 0, since_choice_ = 0, chosen_count_ = 0, rest_count_ = 0;
};

EngineOptions options_of(const Case& c) {
  EngineOptions options{.stage = c.stage,
                        .accumulation = c.accumulation,
                        .gradient_clipping = c.clipping,
                        .storage = c.storage,
                        .zenflow = c.zenflow,
                        .groups = {{.lr = kLr, .weight_decay = kDecay}}};
  if (c.files) options.state_files = {.tier = small_files(1024)};
  if (c.files && c.stage == 3) options.parameter_files = small_files(1024);
  return options;
}

// A matrix and a vector whose gradients are what gradient_at says.
std::vector<float> trained(const Case& c) {
  std::vector<float> values(kAll);
  test::run_ranks(c.ranks, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    const UnitDeclaration unit{.name = "unit",
                               .parameters = {{.name = "matrix", .shape = {kRows, kColumns}},
                                              {.name = "vector", .shape = {kVector}}}};
    Engine engine(group, {unit}, options_of(c));
    engine.fill_parameters(
        [](const std::string&, size_t, std::span<float> out) { std::ranges::fill(out, 0.5F); });
    for (int64_t micro = 0; micro < c.steps * c.accumulation; ++micro) {
      auto g = gradient_at(micro * group.size() + group.rank());
      const auto matrix = at::from_blob(g.data(), {kRows, kColumns}, at::kFloat),
                 vector = at::from_blob(g.data() + kMatrix, {kVector}, at::kFloat);
      engine.backward((engine.tensor("matrix") * matrix).sum() +
                      (engine.tensor("vector") * vector).sum());
      engine.step();
    }
    at::NoGradGuard no_grad;
    const auto matrix = (engine.tensor("matrix") * 1).contiguous(),
               vector = engine.tensor("vector") * 1;
    if (group.rank() == 0) {
      std::copy_n(matrix.const_data_ptr<float>(), kMatrix, values.begin());
      std::copy_n(vector.const_data_ptr<float>(), kVector, values.begin() + kMatrix);
    }
    group.barrier();
  });
  return values;
}

Simulation simulated(const Case& c) {
  Simulation simulation(c);
  const int64_t micros = c.accumulation * c.ranks;
  for (int64_t step = 0; step < c.steps; ++step) {
    std::vector<double> sum(kAll), taken(kAll);
    for (int64_t micro = 0; micro < micros; ++micro) {
      const auto g = gradient_at(step * micros + micro);
      for (size_t i = 0; i < kAll; ++i) sum[i] += g[i];
    }
    simulation.step(sum, static_cast<double>(micros));
  }
  return simulation;
}

// The matrix has 13 * 29 = 377 elements, so slices of 256 cut a row.
TEST(Zenflow, DoesWhatItSaysWhateverTheStageTheRanksAndThePlace) {
  const zero::ZenflowOptions cases[] = {
      {.share = 0.1, .rest_interval = 3, .choice_interval = 6},
      {.share = 0.3, .rest_interval = 2, .choice_interval = 3, .warm_up = 3},
      {.share = 0.25, .choice_interval = 4},
      {.share = 0.05, .rest_interval = 4},
  };
  for (const auto& zenflow : cases)
    for (const int ranks : {1, 2, 3})
      for (const double clipping : {0.0, 0.3}) {
        Case c{.zenflow = zenflow, .ranks = ranks, .clipping = clipping};
        const auto expected = simulated(c);
        EXPECT_LT(expected.rests, c.steps);
        std::vector<float> first;
        for (const int stage : {2, 3})
          for (const bool files : {false, true}) {
            c.stage = stage, c.files = files;
            const auto values = trained(c);
            if (first.empty()) first = values;
            EXPECT_EQ(values, first) << "stage " << stage << (files ? ", files" : "");
          }
        for (size_t i = 0; i < kAll; ++i)
          ASSERT_NEAR(first[i], expected.values[i], 2e-6)
              << "element " << i << ", ranks " << ranks << ", share " << zenflow.share
              << ", clipping " << clipping;
      }
}

TEST(Zenflow, ChoosesAgainAndByItselfWhenTheRestIsDue) {
  const Case c{.zenflow = {.share = 0.25, .choice_interval = 4}};
  const auto simulation = simulated(c);
  EXPECT_GT(simulation.choices, 1);
  EXPECT_GT(simulation.rests, 2);
  EXPECT_LT(simulation.rests, c.steps);
}

std::vector<double> gpt(int ranks, EngineOptions options, int64_t steps = 6) {
  options.groups = {{.lr = kLr, .weight_decay = kDecay}};
  return losses_of(ranks, steps, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    Model model = make_model(group, tiny_gpt2(), options);
    initialize(model, 3);
    return model;
  });
}

TEST(Zenflow, WithEverythingChosenOrWarmingUpIsPlainTraining) {
  for (const int stage : {2, 3}) {
    EngineOptions options{.stage = stage, .gradient_clipping = 0};
    const auto plain = gpt(2, options);
    options.zenflow = {.share = 1, .rest_interval = 4, .choice_interval = 4};
    EXPECT_EQ(gpt(2, options), plain) << "all chosen, stage " << stage;
    options.zenflow = {.share = 0.1, .rest_interval = 4, .warm_up = 6};
    EXPECT_EQ(gpt(2, options), plain) << "warming up, stage " << stage;
  }
}

// Parameters in 16 bits, masters and states in files; micro-batches that add up.
TEST(Zenflow, InFilesChangesNothingOfAModel) {
  for (const auto storage : {DType::kF32, DType::kBF16})
    for (const int64_t accumulation : {1, 3}) {
      EngineOptions options{.stage = 2, .accumulation = accumulation, .gradient_clipping = 0.5};
      options.storage = storage;
      options.zenflow = {.share = 0.2, .rest_interval = 2, .choice_interval = 4};
      const auto in_memory = gpt(2, options);
      options.state_files = {.tier = small_files()};
      EXPECT_EQ(gpt(2, options), in_memory);
      options.stage = 3;
      options.parameter_files = small_files();
      EXPECT_EQ(gpt(2, options), in_memory);
    }
}

// A save ends the interval: who goes on and who comes back begin the next one alike.
TEST(Zenflow, GoesOnFromACheckpointOnOtherRanks) {
  const test::Scratch scratch;
  EngineOptions options{.stage = 2, .gradient_clipping = 0.5};
  options.groups = {{.lr = kLr}};
  options.zenflow = {.share = 0.2, .rest_interval = 3, .choice_interval = 6};
  std::vector<double> losses[2];
  for (const bool resumed : {false, true})
    test::run_ranks(2, [&](const comm::Communicator& group) {
      at::set_num_threads(1);
      Model model = make_model(group, tiny_gpt2(), options);
      int64_t step = 0;
      if (resumed) {
        step = restore(*model.engine, checkpoint::Reader(checkpoint::resolve(scratch.path()))).step;
      } else {
        initialize(model, 3);
      }
      for (; step < 10; ++step) {
        if (step == 5 && !resumed)
          checkpoint::save(group, snapshot(*model.engine, {.step = 5, .attempts = 5}, {}),
                           {.root = scratch.path()});
        const double loss = train_step(model, step).loss;
        if (group.rank() == 0 && step >= 5) losses[resumed].push_back(loss);
      }
      group.barrier();
    });
  EXPECT_EQ(losses[1], losses[0]);
}

TEST(Zenflow, AStepThatIsNotFiniteIsSkippedByAll) {
  test::run_ranks(2, [&](const comm::Communicator& group) {
    at::set_num_threads(1);
    EngineOptions options{.stage = 2};
    options.zenflow = {.share = 0.2, .rest_interval = 3};
    Model model = make_model(group, tiny_gpt2(), options);
    initialize(model, 3);
    for (int64_t step = 0; step < 5; ++step) {
      const auto loss = batch_loss(*model.program, batch_at(step * 2 + group.rank(), 2), false);
      const bool bad = step == 2 && group.rank() == 1;
      model.engine->backward(bad ? loss.sum * std::numeric_limits<double>::infinity() : loss.sum,
                             loss.weight);
      EXPECT_EQ(model.engine->step().applied, step != 2);
    }
    const auto loss = batch_loss(*model.program, batch_at(99, 2), false);
    EXPECT_TRUE(std::isfinite(loss.sum.item<double>()));
    group.barrier();
  });
}

TEST(Zenflow, WhatItDoesNotGoWithIsRefused) {
  const auto refused = [](EngineOptions options) {
    options.zenflow = zero::ZenflowOptions{};
    EXPECT_THROW(gpt(1, options, 1), Error);
  };
  refused({.stage = 1});
  refused({.stage = 2, .average_decay = 0.9});
  refused({.stage = 2, .wire = DType::kF16});
  refused({.stage = 2, .optimizer = "lamb"});
  refused({.stage = 2, .gradient_clipping = 0, .update_in_backward = true});
}

}  // namespace
}  // namespace hydrofoil::train::zenflow_test
