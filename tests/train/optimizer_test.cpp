// SPDX-License-Identifier: Apache-2.0
// Every update rule, sharded, in files and resumed: the same bits as on one rank.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/snapshot.h"
#include "tests/train/training.h"

namespace hydrofoil::train::optimizer_test {
namespace {

struct Training {
  std::string optimizer;
  int ranks = 1, stage = 0;
  DType storage = DType::kF32, states = DType::kF32;
  bool master = true;
  std::optional<uint64_t> rounding_seed = {};
  bool files = false;
  int64_t accumulation = 1, steps = 5;
};

const std::map<std::string, optim::Hyperparameters> kRules = {
    {"AdamW", {.lr = 1e-3, .weight_decay = 0.1}},
    {"Adagrad", {.lr = 1e-2, .weight_decay = 0.1, .lr_decay = 0.1, .initial_sum = 1e-3}},
    {"Lamb", {.lr = 1e-2, .weight_decay = 0.1}},
    {"Lion", {.lr = 1e-3, .beta2 = 0.99, .weight_decay = 0.1}}};

Model make(const comm::Communicator& group, const Training& run) {
  at::set_num_threads(1);
  EngineOptions options{.stage = run.stage,
                        .accumulation = run.accumulation,
                        .gradient_clipping = 0.5,
                        .storage = run.storage,
                        .states = run.states,
                        .master = run.master,
                        .rounding_seed = run.rounding_seed,
                        .optimizer = run.optimizer,
                        .groups = {kRules.at(run.optimizer)}};
  if (run.files) options.state_files = {.tier = small_files(1024)};
  Model model = make_model(group, tiny_gpt2(), options);
  initialize(model, 3);
  return model;
}

std::vector<double> train(const Training& run) {
  return losses_of(run.ranks, run.steps,
                   [&](const comm::Communicator& group) { return make(group, run); });
}

TEST(Optimizers, StagesRanksAndFilesAreBitEqual) {
  for (const auto& [name, group] : kRules)
    for (const int ranks : {2, 3, 4}) {
      const auto one = train({.optimizer = name, .accumulation = ranks});
      for (const int stage : {0, 1, 2, 3})
        for (const bool files : {false, true}) {
          if (files && stage == 1) continue;
          EXPECT_EQ(train({.optimizer = name, .ranks = ranks, .stage = stage, .files = files}), one)
              << name << ", stage " << stage << ", ranks " << ranks << (files ? ", files" : "");
        }
    }
}

TEST(Optimizers, SixteenBitParametersAndStatesAreBitEqualOverStagesToo) {
  for (const auto& [name, group] : kRules)
    for (const DType states : {DType::kF32, DType::kBF16}) {
      Training run{
          .optimizer = name, .ranks = 3, .stage = 1, .storage = DType::kBF16, .states = states};
      const auto reference = train(run);
      run.stage = 3, run.files = true;
      EXPECT_EQ(train(run), reference) << name;
    }
}

TEST(StochasticRounding, StagesRanksAndFilesAreBitEqual) {
  for (const auto& [name, group] : kRules) {
    Training run{.optimizer = name,
                 .storage = DType::kBF16,
                 .states = DType::kBF16,
                 .master = false,
                 .rounding_seed = 5,
                 .accumulation = 3};
    const auto one = train(run);
    run.rounding_seed = 6;
    EXPECT_NE(train(run), one) << name;
    run.rounding_seed = 5, run.ranks = 3, run.accumulation = 1;
    for (const int stage : {1, 3}) {
      run.stage = stage, run.files = stage == 3;
      EXPECT_EQ(train(run), one) << name << ", stage " << stage;
    }
  }
}

// Four batches again and again, until the model knows them: the mean loss of steps 181 to 200.
double learned(const Training& run) {
  double sum = 0;
  test::run_ranks(1, [&](const comm::Communicator& group) {
    Model model = make(group, run);
    for (int64_t step = 0; step < 200; ++step) {
      const double loss = train_step(model, step % 4).loss;
      if (step >= 180) sum += loss / 20;
    }
  });
  return sum;
}

TEST(StochasticRounding, MomentsInBf16LearnAsThoseInFp32) {
  const double reference = learned({.optimizer = "AdamW"});
  const double nearest = learned({.optimizer = "AdamW", .states = DType::kBF16});
  // Seeds differ by half a percent from each other, so their mean is what can be compared.
  constexpr uint64_t kSeeds = 8;
  double sum = 0;
  for (uint64_t seed = 5; seed < 5 + kSeeds; ++seed) {
    const double one =
        learned({.optimizer = "AdamW", .states = DType::kBF16, .rounding_seed = seed}) / reference;
    sum += one - 1;
  }
  const double by_chance = sum / kSeeds;
  const double no_copies = learned({.optimizer = "AdamW",
                                    .storage = DType::kBF16,
                                    .states = DType::kBF16,
                                    .master = false,
                                    .rounding_seed = 5});
  const double lost = learned(
      {.optimizer = "AdamW", .storage = DType::kBF16, .states = DType::kBF16, .master = false});
  // Measured: 1.3009; of the seeds 1.2982 +- 0.0021 (0.16 %).
  EXPECT_NEAR(by_chance, 0, 0.006);
  EXPECT_GT(std::abs(nearest / reference - 1), 0.01);
  EXPECT_NEAR(no_copies / reference, 1, 0.02);
  EXPECT_GT(lost / reference, 1.2);
}

TEST(Optimizers, ResumeOnOtherRanksAndStagesWithTheirOwnStates) {
  const auto folder = std::filesystem::path(testing::TempDir()) /
                      ("hydrofoil-optimizers-" + std::to_string(::getpid()));
  const std::map<std::string, std::vector<std::string>> kStates = {
      {"Adagrad", {"sum"}}, {"Lamb", {"exp_avg", "exp_avg_sq"}}, {"Lion", {"exp_avg"}}};
  for (const auto& [name, states] : kStates) {
    std::filesystem::remove_all(folder);
    const auto expected = train({.optimizer = name, .accumulation = 2, .steps = 6});
    test::run_ranks(2, [&, &name = name](const comm::Communicator& group) {
      Model model = make(group, {.optimizer = name, .ranks = 2, .stage = 2});
      for (int64_t step = 0; step < 3; ++step) train_step(model, step);
      checkpoint::save(group, snapshot(*model.engine, {.step = 3, .attempts = 3}, {}),
                       {.root = folder, .keep = 1, .created_by = "test"});
    });
    const checkpoint::Reader reader(folder);
    for (const auto& state : states)
      EXPECT_TRUE(reader.has("optimizer.safetensors", state + ".transformer.h.1.mlp.c_fc.weight"));
    EXPECT_EQ(reader.has("optimizer.safetensors", "exp_avg_sq.transformer.h.1.mlp.c_fc.weight"),
              states.size() == 2);
    test::run_ranks(1, [&, &name = name](const comm::Communicator& group) {
      Model model = make(group, {.optimizer = name, .files = true, .accumulation = 2});
      EXPECT_EQ(restore(*model.engine, reader).step, 3);
      for (int64_t step = 3; step < 6; ++step)
        EXPECT_EQ(train_step(model, step).loss, expected[static_cast<size_t>(step)]) << name;
      Model other = make(group, {.optimizer = name == "Lion" ? "Lamb" : "Lion"});
      EXPECT_THROW(restore(*other.engine, reader), Error) << name;
    });
  }
  std::filesystem::remove_all(folder);
}

// A ratio of its own for each tensor: as if each were a unit of its own.
TEST(Optimizers, LambMovesATensorByAShareOfItsNorm) {
  test::run_ranks(2, [&](const comm::Communicator& group) {
    const std::map<std::string, float> sizes = {{"a", 1.0f}, {"b", 100.0f}, {"c", 0.0f}};
    UnitDeclaration unit{.name = "u", .parameters = {}};
    for (const auto& [name, size] : sizes) unit.parameters.push_back({.name = name, .shape = {97}});
    Engine engine(group, {unit},
                  {.stage = 3,
                   .gradient_clipping = 0,
                   .optimizer = "lamb",
                   .groups = {{.lr = 0.1, .bias_correction = false, .max_coeff = 1e6}}});
    engine.fill_parameters([&](const std::string& name, size_t, std::span<float> out) {
      std::fill(out.begin(), out.end(), sizes.at(name));
    });
    at::Tensor loss;
    for (const auto& [name, size] : sizes) {
      const auto sum = engine.tensor(name).sum();
      loss = loss.defined() ? loss + sum : sum;
    }
    engine.backward(loss);
    engine.step();
    // Direction m / sqrt(v) is the same everywhere: a tenth of the norm is a tenth of each element.
    // A tensor of zeros has no norm: its ratio is 1 and it moves by lr m / sqrt(v).
    const double plain = 0.1 * 0.1 / std::sqrt(0.001);
    for (const auto& [name, size] : sizes) {
      const double want = size == 0 ? -plain : 0.9 * size;
      EXPECT_NEAR(engine.tensor(name).sum().item<double>() / 97, want, 1e-4 * (size + 1)) << name;
    }
    group.barrier();
  });
}

}  // namespace
}  // namespace hydrofoil::train::optimizer_test
