// SPDX-License-Identifier: Apache-2.0
// Where optimizer states, gradients and parameters lie must not change one bit of the training.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/snapshot.h"
#include "tests/support/ranks.h"
#include "tests/train/batches.h"

namespace hydrofoil::train {
namespace {

spec::ModelSpec tiny() {
  return spec::model_spec_from_hf(
      R"({"model_type":"gpt2","vocab_size":97,"n_embd":36,"n_layer":3,"n_head":3,"n_positions":24})",
      "test");
}

struct Training {
  int ranks = 1, stage = 0;
  DType storage = DType::kF32, states = DType::kF32;
  bool files = false;            // of states, and of gradients that are sliced
  bool parameter_files = false;  // stage 3
  double share = 1;
  size_t chunk_elements = 4096;
  int64_t accumulation = 1, steps = 6;
};

EngineOptions options_of(const Training& run) {
  EngineOptions options{.stage = run.stage,
                        .accumulation = run.accumulation,
                        .gradient_clipping = 0.5,
                        .storage = run.storage,
                        .states = run.states,
                        .groups = {{.lr = 1e-2, .weight_decay = 0.1}}};
  const memory::FileTierOptions tier{.folder = testing::TempDir(),
                                     .io = {.block_bytes = 4096, .queue_depth = 2},
                                     .buffers = 3,
                                     .chunk_elements = run.chunk_elements};
  if (run.files) options.state_files = {.tier = tier, .share = run.share};
  if (run.parameter_files) options.parameter_files = tier;
  return options;
}

Model make(const comm::Communicator& group, const Training& run) {
  at::set_num_threads(1);
  Model model = make_model(group, tiny(), options_of(run));
  initialize(model, 3);
  return model;
}

double train_step(Model& model, int64_t step) {
  const auto& group = model.engine->group();
  for (int64_t micro = step * model.engine->options().accumulation;; ++micro) {
    const auto loss =
        batch_loss(*model.program, batch_at(micro * group.size() + group.rank(), 2), false);
    model.engine->backward(loss.sum, loss.weight);
    if (const auto result = model.engine->step(); result.boundary) return result.loss;
  }
}

std::vector<double> train(const Training& run) {
  std::vector<double> losses(static_cast<size_t>(run.steps));
  test::run_ranks(run.ranks, [&](const comm::Communicator& group) {
    Model model = make(group, run);
    for (int64_t step = 0; step < run.steps; ++step) {
      const double loss = train_step(model, step);
      if (group.rank() == 0) losses[static_cast<size_t>(step)] = loss;
    }
    group.barrier();
  });
  return losses;
}

TEST(Offload, StatesInAFileChangeNothingAtAnyStage) {
  for (const auto storage : {DType::kF32, DType::kBF16})
    for (const int ranks : {1, 2, 3})
      for (const int stage : {0, 1, 2, 3}) {
        Training run{.ranks = ranks, .stage = stage, .storage = storage};
        const auto in_memory = train(run);
        run.files = true;
        EXPECT_EQ(train(run), in_memory)
            << "stage " << stage << ", ranks " << ranks << ", " << name_of(storage);
      }
}

TEST(Offload, NorDoParametersAndAccumulatedGradientsThere) {
  for (const auto storage : {DType::kF32, DType::kBF16})
    for (const int ranks : {1, 2, 3})
      for (const int64_t accumulation : {1, 3})
        for (const bool states_too : {false, true}) {
          Training run{
              .ranks = ranks, .stage = 3, .storage = storage, .accumulation = accumulation};
          const auto in_memory = train(run);
          run.files = states_too, run.parameter_files = true;
          EXPECT_EQ(train(run), in_memory)
              << "ranks " << ranks << ", " << name_of(storage) << ", accumulation " << accumulation
              << (states_too ? ", states too" : "");
        }
}

TEST(Offload, NorDoTheirTypeTheirShareAndTheSizeOfPieces) {
  for (const auto states : {DType::kF32, DType::kBF16}) {
    Training run{.ranks = 2, .stage = 2, .storage = DType::kBF16, .states = states};
    const auto in_memory = train(run);
    run.files = true;
    for (const double share : {0.0, 0.4, 1.0})
      for (const size_t chunk : {1024u, 32768u}) {
        run.share = share, run.chunk_elements = chunk;
        EXPECT_EQ(train(run), in_memory) << share << " of the units, pieces of " << chunk;
      }
  }
}

TEST(Offload, MemoryHoldsAFewPiecesOfTheState) {
  test::run_ranks(2, [&](const comm::Communicator& group) {
    Model model = make(group, {.ranks = 2, .stage = 1, .files = true});
    for (int64_t step = 0; step < 2; ++step) train_step(model, step);
    const auto moved = model.engine->optimizer().store().counters();  // when the update is done
    // Three buffers of two arrays, by 4096 elements.
    EXPECT_LE(model.engine->ledger().peak_bytes(memory::Category::kOptimizer), 3u * 2 * 4096 * 4);
    EXPECT_EQ(model.engine->ledger().bytes(memory::Category::kOptimizer), 0u);
    EXPECT_EQ(moved.written_bytes, 2 * moved.read_bytes) << "the first step reads nothing";
    group.barrier();
  });
}

TEST(Offload, MemoryHoldsNoSliceOfWhatLiesInFiles) {
  for (const int ranks : {1, 2})
    test::run_ranks(ranks, [&](const comm::Communicator& group) {
      Model model =
          make(group, {.stage = 3, .files = true, .parameter_files = true, .chunk_elements = 1024});
      for (int64_t step = 0; step < 2; ++step) train_step(model, step);
      const auto& cache = model.engine->cache();
      const auto& ledger = model.engine->ledger();
      size_t largest = 0;
      for (memory::UnitId unit = 0; unit < cache.units(); ++unit)
        largest = std::max(largest, cache.unit_bytes(unit));
      const size_t buffers = 3 * 1024 * sizeof(float);
      EXPECT_LE(ledger.peak_bytes(memory::Category::kParameters),
                model.engine->options().resident_bytes + buffers);
      EXPECT_LE(ledger.peak_bytes(memory::Category::kGradients), 2 * largest + buffers);
      EXPECT_LE(ledger.peak_bytes(memory::Category::kOptimizer), 4 * buffers);
      group.barrier();
    });
}

// The descriptor of a scratch file: what a failing disk would act upon.
int scratch_descriptor() {
  for (int fd = 0; fd < 256; ++fd) {
    std::error_code none;
    const auto target =
        std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), none).string();
    if (target.find(testing::TempDir()) == 0 && target.find("(deleted)") != std::string::npos)
      return fd;
  }
  return -1;
}

// The update goes on beside the next forward: its failure must reach whoever waits for it.
TEST(Offload, AFailingDiskEndsTheNextStep) {
  test::run_ranks(1, [&](const comm::Communicator& group) {
    Model model = make(group, {.files = true});
    for (int64_t step = 0; step < 2; ++step) train_step(model, step);
    model.engine->optimizer();  // done
    ASSERT_EQ(::ftruncate(scratch_descriptor(), 0), 0);
    train_step(model, 2);
    for (int i = 0; i < 2; ++i) try {
        train_step(model, 3);
        FAIL() << "trained on without its state";
      } catch (const Error& error) {
        EXPECT_NE(error.line().find(testing::TempDir()), std::string::npos) << error.line();
      }
  });
}

// From memory to files and back, over another stage and number of ranks.
TEST(Offload, ACheckpointDoesNotKnowWhereStatesLay) {
  const auto folder = std::filesystem::path(testing::TempDir()) /
                      ("hydrofoil-offload-" + std::to_string(::getpid()));
  for (const auto storage : {DType::kF32, DType::kBF16})
    for (const bool first_in_files : {false, true}) {
      std::filesystem::remove_all(folder);
      const Training whole{.ranks = 2, .stage = 1, .storage = storage, .steps = 8};
      const auto expected = train(whole);
      test::run_ranks(2, [&](const comm::Communicator& group) {
        Training run = whole;
        run.files = first_in_files;
        {
          Model model = make(group, run);
          for (int64_t step = 0; step < 4; ++step) train_step(model, step);
          checkpoint::save(group, snapshot(*model.engine, {.step = 4, .attempts = 4}, {}),
                           {.root = folder, .keep = 1, .created_by = "test"});
          for (int64_t step = 4; step < 6; ++step)  // goes on unharmed
            EXPECT_EQ(train_step(model, step), expected[static_cast<size_t>(step)]);
        }
        run.files = run.parameter_files = !first_in_files, run.stage = 3;
        Model model = make(group, run);
        EXPECT_EQ(restore(*model.engine, checkpoint::Reader(folder)).step, 4);
        for (int64_t step = 4; step < 8; ++step)
          EXPECT_EQ(train_step(model, step), expected[static_cast<size_t>(step)]);
        group.barrier();
      });
    }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace hydrofoil::train
