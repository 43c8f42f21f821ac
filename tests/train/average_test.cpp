// SPDX-License-Identifier: Apache-2.0
// The moving average of the weights: its formula, its bytes, and its way through a checkpoint.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/plan/memory_plan.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/snapshot.h"
#include "tests/support/scratch.h"
#include "tests/train/training.h"

namespace hydrofoil::train::average_test {
namespace {

namespace fs = std::filesystem;

constexpr double kDecay = 0.75;
constexpr const char* kModel =
    R"({"model_type":"gpt2","vocab_size":97,"n_embd":36,"n_layer":2,"n_head":3,"n_positions":24})";

spec::ModelSpec tiny() {
  return spec::model_spec_from_hf(kModel, "test");
}

struct Kind {
  int stage = 0;
  DType storage = DType::kF32;
  bool files = false;
  double decay = kDecay;
  const char* optimizer = "adamw";
};

EngineOptions options_of(const Kind& kind) {
  EngineOptions options{.stage = kind.stage,
                        .storage = kind.storage,
                        .average_decay = kind.decay,
                        .optimizer = kind.optimizer,
                        .groups = {{.lr = 1e-2}}};
  if (kind.files) options.state_files = {.tier = small_files()};
  return options;
}

Model make(const comm::Communicator& group, const Kind& kind) {
  at::set_num_threads(1);
  Model model = make_model(group, tiny(), options_of(kind));
  initialize(model, 3);
  return model;
}

void train_steps(Model& model, int64_t from, int64_t to) {
  for (int64_t step = from; step < to; ++step) EXPECT_TRUE(train_step(model, step).applied);
}

// Of this rank's slices: what updates work on, and its average.
struct Slices {
  std::vector<float> weights, average;
};

Slices slices_of(Engine& engine) {
  Slices slices;
  auto& store = engine.optimizer().store();
  const auto append = [](std::vector<float>& to, const memory::Column& column) {
    std::vector<float> values(column.count());
    column.read(0, std::as_writable_bytes(std::span(values)));
    to.insert(to.end(), values.begin(), values.end());
  };
  auto& cache = engine.cache();
  for (memory::UnitId unit = 0; unit < cache.units(); ++unit)
    for (size_t s = 0; s < cache.segments(unit).size(); ++s) {
      const auto kept = engine.optimizer().kept(unit, s);
      append(slices.weights,
             kept && kept->master ? store.arrays(kept->id)[*kept->master] : cache.own(unit, s));
      if (kept && kept->average) append(slices.average, store.arrays(kept->id)[*kept->average]);
    }
  return slices;
}

TEST(Average, FollowsTheFormulaAtEveryStageWhereverItLies) {
  for (const auto& [storage, files] : {std::pair{DType::kF32, false}, {DType::kBF16, true}})
    for (const int stage : {0, 1, 2, 3})
      test::run_ranks(3, [&, storage = storage, files = files](const comm::Communicator& group) {
        Model model = make(group, {.stage = stage, .storage = storage, .files = files});
        const auto first = slices_of(*model.engine).weights;
        std::vector<double> expected(first.begin(), first.end());
        for (int64_t step = 0; step < 20; ++step) {
          train_steps(model, step, step + 1);
          const auto weights = slices_of(*model.engine).weights;
          for (size_t i = 0; i < weights.size(); ++i)
            expected[i] = kDecay * expected[i] + (1 - kDecay) * weights[i];
        }
        const auto average = slices_of(*model.engine).average;
        ASSERT_EQ(average.size(), expected.size());
        double worst = 0, moved = 0;
        for (size_t i = 0; i < average.size(); ++i) {
          worst = std::max(worst, std::abs(average[i] - expected[i]));
          moved = std::max(moved, std::abs(average[i] - double{first[i]}));
        }
        EXPECT_LE(worst, 5e-7) << stage << name_of(storage);  // weights are below 2
        EXPECT_GE(moved, 0.05) << stage << name_of(storage);
        group.barrier();
      });
}

TEST(Average, TakesFourBytesAnElementAsPlanned) {
  for (const int stage : {0, 1, 2, 3})
    for (const bool files : {false, true})
      test::run_ranks(3, [&](const comm::Communicator& group) {
        Model model = make(group, {.stage = stage, .files = files});
        train_steps(model, 0, 2);
        plan::RunShape shape{.ranks = 3, .stage = stage, .optimizer_widths = {4, 4, 4}};
        if (files)
          shape.state_files = plan::Files{.chunk_elements = 4096, .buffers = 3, .share = 1};
        model.engine->optimizer();  // done
        EXPECT_EQ(model.engine->ledger().peak_bytes(memory::Category::kOptimizer),
                  plan::plan_memory(plan::model_of(tiny()), shape).optimizer);
        group.barrier();
      });
}

fs::path save(Model& model, const fs::path& root, int64_t step) {
  return checkpoint::save(
      model.engine->group(),
      snapshot(*model.engine, {.step = step, .attempts = step}, {{"config.json", kModel}}),
      {.root = root, .keep = 9, .created_by = "test"});
}

std::string optimizer_file(const fs::path& root) {
  return io::read_text(checkpoint::resolve(root) / checkpoint::kOptimizerFile);
}

// Kept, restored and kept again on other ranks it is the same, and so is what becomes of it.
TEST(Average, OfAResumedRunIsTheSame) {
  for (const auto& [storage, optimizer] :
       {std::pair{DType::kF32, "adamw"}, {DType::kBF16, "adamw"}, {DType::kF32, "sgd"}}) {
    Kind kind{.stage = 1, .storage = storage, .optimizer = optimizer};
    const test::Scratch scratch;
    const auto path = [&](const char* name) { return scratch.path() / name; };
    test::run_ranks(2, [&](const comm::Communicator& group) {
      Model model = make(group, kind);
      train_steps(model, 0, 3);
      save(model, path("half"), 3);
      train_steps(model, 3, 6);
      save(model, path("whole"), 6);
    });
    kind.stage = 3, kind.files = true;
    test::run_ranks(3, [&](const comm::Communicator& group) {
      Model model = make(group, kind);
      restore(*model.engine, checkpoint::Reader(path("half")));
      save(model, path("again"), 3);
      group.barrier();
    });
    EXPECT_EQ(optimizer_file(path("again")), optimizer_file(path("half")));
    test::run_ranks(2, [&](const comm::Communicator& group) {
      Model model = make(group, kind);
      restore(*model.engine, checkpoint::Reader(path("again")));
      train_steps(model, 3, 6);
      save(model, path("resumed"), 6);
    });
    EXPECT_EQ(optimizer_file(path("resumed")), optimizer_file(path("whole")));
  }
}

TEST(Average, BeginsAtTheWeightsOfACheckpointThatHasNone) {
  const test::Scratch scratch;
  for (const DType storage : {DType::kF32, DType::kBF16})
    test::run_ranks(2, [&](const comm::Communicator& group) {
      Model plain = make(group, {.stage = 2, .storage = storage, .decay = 0});
      train_steps(plain, 0, 2);
      EXPECT_TRUE(slices_of(*plain.engine).average.empty());
      save(plain, scratch.path(), 2);
      Model model = make(group, {.stage = 2, .storage = storage});
      restore(*model.engine, checkpoint::Reader(scratch.path()));
      const auto slices = slices_of(*model.engine);
      EXPECT_EQ(slices.average, slices.weights);
      group.barrier();
    });
}

TEST(Average, IsAModelOfItsOwn) {
  const test::Scratch scratch;
  test::run_ranks(1, [&](const comm::Communicator& group) {
    Model model = make(group, {.stage = 1});
    const char* const frozen = "transformer.wpe.weight";
    const_cast<at::Tensor&>(model.engine->tensor(frozen)).set_requires_grad(false);
    train_steps(model, 0, 3);
    const auto folder = save(model, scratch.path() / "run", 3);
    const auto weights = checkpoint::ModelSource(folder).weights(),
               average = checkpoint::ModelSource(folder, checkpoint::Take::kAverage).weights();
    const auto read = [](const checkpoint::Weights& from, const std::string& name) {
      std::vector<float> values(97);
      from.read(name, 36, values);
      return values;
    };
    EXPECT_NE(read(*average, "transformer.wte.weight"), read(*weights, "transformer.wte.weight"));
    EXPECT_EQ(read(*average, frozen), read(*weights, frozen));
    EXPECT_EQ(average->shape("transformer.wte.weight"), (std::vector<int64_t>{97, 36}));
    Model plain = make(group, {.decay = 0});
    train_steps(plain, 0, 1);
    const auto without = save(plain, scratch.path() / "plain", 1);
    EXPECT_THROW(checkpoint::ModelSource(without, checkpoint::Take::kAverage).weights(), Error);
  });
}

}  // namespace
}  // namespace hydrofoil::train::average_test
