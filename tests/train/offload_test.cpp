// SPDX-License-Identifier: Apache-2.0
// Where optimizer states, gradients and parameters lie must not change one bit of the training.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/plan/file_plan.h"
#include "hydrofoil/train/activation_files.h"
#include "hydrofoil/train/file_meter.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/snapshot.h"
#include "tests/support/faults.h"
#include "tests/support/scratch.h"
#include "tests/train/training.h"

namespace hydrofoil::train::offload_test {
namespace {

struct Training {
  int ranks = 1, stage = 0;
  DType storage = DType::kF32, states = DType::kF32;
  bool files = false;            // of states, and of gradients that are sliced
  bool parameter_files = false;  // stage 3
  bool in_backward = false;      // units are updated there
  double share = 1;
  size_t chunk_elements = 4096;
  int64_t accumulation = 1, steps = 6;
  std::filesystem::path folder = testing::TempDir();
  std::string optimizer = "adamw";
};

EngineOptions options_of(const Training& run) {
  EngineOptions options{.stage = run.stage,
                        .accumulation = run.accumulation,
                        .gradient_clipping = run.in_backward ? 0 : 0.5,
                        .storage = run.storage,
                        .states = run.states,
                        .update_in_backward = run.in_backward,
                        .optimizer = run.optimizer,
                        .groups = {{.lr = 1e-2, .weight_decay = 0.1}}};
  const auto tier = small_files(run.chunk_elements, run.folder);
  if (run.files) options.state_files = {.tier = tier, .share = run.share};
  if (run.parameter_files) options.parameter_files = tier;
  return options;
}

Model make(const comm::Communicator& group, const Training& run) {
  at::set_num_threads(1);
  Model model = make_model(group, tiny_gpt2(), options_of(run));
  initialize(model, 3);
  return model;
}

std::vector<double> train(const Training& run) {
  return losses_of(run.ranks, run.steps,
                   [&](const comm::Communicator& group) { return make(group, run); });
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

// With a forward in between that has no backward, and inputs that are wider than a page.
TEST(Offload, InputsOfLayersInAFileChangeNothing) {
  for (const int ranks : {1, 2}) {
    std::vector<double> losses[2];
    for (const bool files : {false, true})
      test::run_ranks(ranks, [&](const comm::Communicator& group) {
        Model model = make(group, {.ranks = ranks, .stage = 3, .accumulation = 2});
        ActivationFiles store({.folder = testing::TempDir(), .buffers = 3}, model.engine->ledger());
        const Kept kept(true, files ? &store : nullptr);
        for (int64_t micro = 0; micro < 8; ++micro) {
          const auto batch = batch_at(micro * group.size() + group.rank(), 1 + micro % 3);
          if (micro == 5) batch_loss(*model.program, batch, kept);
          const auto loss = batch_loss(*model.program, batch, kept);
          model.engine->backward(loss.sum, loss.weight);
          if (const auto result = model.engine->step(); result.boundary && group.rank() == 0)
            losses[files].push_back(result.loss);
        }
        const size_t largest = 3 * 17 * 36 * sizeof(float);  // sequences, tokens, states
        EXPECT_EQ(model.engine->ledger().peak_bytes(memory::Category::kActivations),
                  files ? 3 * ((largest + 4095) / 4096 * 4096) : 0u);
        EXPECT_EQ(model.engine->ledger().bytes(memory::Category::kActivations), 0u);
        group.barrier();
      });
    EXPECT_EQ(losses[1], losses[0]);
  }
}

plan::RunShape shape_of(const Training& run) {
  plan::RunShape shape{.ranks = run.ranks,
                       .stage = run.stage,
                       .accumulation = run.accumulation,
                       .sequence_length = kLength};
  const plan::Files files{.chunk_elements = run.chunk_elements, .buffers = 3, .share = run.share};
  if (run.files) shape.state_files = files;
  if (run.parameter_files) shape.parameter_files = files;
  if (run.storage != DType::kF32) shape.parameter_bytes = 2, shape.optimizer_widths = {4, 4, 4};
  if (run.optimizer == "lamb") shape.norms_first = true;
  return shape;
}

// What whole steps move, in the mean of `steps`, on every rank.
monitor::NamedBytes moved(const Training& run, const plan::Model& planned) {
  monitor::NamedBytes result;
  test::run_ranks(run.ranks, [&](const comm::Communicator& group) {
    EngineOptions options = options_of(run);
    options.resident_bytes = plan::smallest_resident_bytes(planned, shape_of(run));
    at::set_num_threads(1);
    Model model = make_model(group, tiny_gpt2(), options);
    initialize(model, 3);
    FileMeter meter(*model.engine);
    for (int64_t step = 0; step < run.steps; ++step) {
      train_step(model, step);
      meter.end_step(1);
    }
    const auto mean = meter.mean_step().bytes;
    if (group.rank() == 0) result = mean;
    group.barrier();
  });
  return result;
}

// Bytes are equal, but for parameters: units that are read ahead of their use may have to be read
// once more.
void expect_moved(monitor::NamedBytes moved, const plan::FilePlan& planned) {
  for (auto& [use, bytes] : moved)
    if (use == "parameters_read") {
      EXPECT_GE(bytes, planned.parameters.read);
      EXPECT_LE(static_cast<double>(bytes), 1.25 * static_cast<double>(planned.parameters.read));
      bytes = planned.parameters.read;
    }
  EXPECT_EQ(moved, planned.by_operation());
}

TEST(Offload, MovesWhatThePlanSays) {
  const auto planned = plan::model_of(tiny_gpt2());
  for (const auto storage : {DType::kF32, DType::kBF16})
    for (const int ranks : {1, 2, 3})
      for (const int stage : {1, 2, 3})
        for (const int64_t accumulation : {1, 3})
          for (const char* optimizer : {"adamw", "lamb"}) {
            if (storage == DType::kBF16 && (ranks != 2 || stage == 1)) continue;
            Training run{.ranks = ranks,
                         .stage = stage,
                         .storage = storage,
                         .files = true,
                         .share = stage == 1 ? 0.4 : 1.0,
                         .accumulation = accumulation,
                         .steps = 4,
                         .optimizer = optimizer};
            for (const bool parameters : {false, true}) {
              if (parameters && stage < 3) continue;
              run.parameter_files = parameters;
              SCOPED_TRACE(testing::Message()
                           << name_of(storage) << ", ranks " << ranks << ", stage " << stage
                           << ", g " << accumulation << ", " << optimizer
                           << (parameters ? ", parameters" : ""));
              expect_moved(moved(run, planned), plan::plan_files(planned, shape_of(run)));
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

// --- failing disks

// What lies in files, in the order these are made.
enum class Victim : uint8_t { kParameters, kGradients, kStates };

// What ends training where one file fails in the middle of a step; twice, as it must stay so.
std::vector<std::string> errors_of(Model& model, const std::filesystem::path& folder, Victim victim,
                                   test::Fault fault) {
  const auto backward = [&](int64_t micro) {
    const auto loss = batch_loss(*model.program, batch_at(micro), false);
    model.engine->backward(loss.sum, loss.weight);
    model.engine->step();
  };
  for (int64_t micro = 0; micro < 5; ++micro) backward(micro);  // two steps and a half
  const auto files = test::scratch_descriptors(folder);
  const test::BrokenFile broken(files.at(static_cast<size_t>(victim)), fault);
  std::vector<std::string> lines;
  for (int64_t micro = 5; micro < 9 && lines.size() < 2; ++micro) try {
      backward(micro);
    } catch (const Error& error) {
      lines.push_back(error.line());
    }
  return lines;
}

// Wherever it strikes: in a parameter that comes in, in a gradient that is written beside backward,
// in an update beside the next forward.
TEST(FailingDisk, EndsTrainingWithItsReasonAndLeavesNothing) {
  using test::Fault;
  const test::Scratch scratch;
  Training run{.stage = 3,
               .files = true,
               .parameter_files = true,
               .chunk_elements = 1024,
               .accumulation = 2,
               .folder = scratch.path()};
  for (int round = 0; round < 6; ++round)
    for (const auto& [fault, words] : {std::pair{Fault::kDevice, "Input/output error"},
                                       {Fault::kTruncated, "the file ends at "},
                                       {Fault::kGarbage, "came back other than they were written"},
                                       {Fault::kNoGrowth, "File too large"}}) {
      const auto victim = static_cast<Victim>(round / 2);
      run.in_backward = round % 2 == 1;
      const auto before = test::open_descriptors();
      test::run_ranks(1, [&](const comm::Communicator& group) {
        Model model = make(group, run);
        const auto lines = errors_of(model, scratch.path(), victim, fault);
        ASSERT_EQ(lines.size(), 2u) << words;
        for (const auto& line : lines)
          EXPECT_THAT(line, testing::AllOf(testing::HasSubstr(words),
                                           testing::HasSubstr(scratch.path().string())))
              << "file " << static_cast<int>(victim);
      });
      EXPECT_EQ(test::open_descriptors(), before) << words;
      EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
    }
}

// Nobody waits for good for a rank whose disk fails, and the last checkpoint goes on as if nothing
// had been.
TEST(FailingDisk, OfOneRankEndsAllAndTheCheckpointLoads) {
  const test::Scratch disk, root;
  const Training run{
      .ranks = 3, .stage = 3, .files = true, .parameter_files = true, .folder = disk.path()};
  const auto expected = train(run);
  for (const size_t victim : {0u, 4u, 8u}) {  // of three kinds and ranks
    EXPECT_THROW(
        test::run_ranks(3,
                        [&](const comm::Communicator& group) {
                          Model model = make(group, run);
                          for (int64_t step = 0; step < 3; ++step) train_step(model, step);
                          checkpoint::save(group,
                                           snapshot(*model.engine, {.step = 3, .attempts = 3}, {}),
                                           {.root = root.path(), .keep = 1, .created_by = "test"});
                          std::optional<test::BrokenFile> broken;
                          if (group.rank() == 0)
                            broken.emplace(test::scratch_descriptors(disk.path()).at(victim),
                                           test::Fault::kDevice);
                          for (int64_t step = 3; step < 6; ++step) train_step(model, step);
                        }),
        Error);
    EXPECT_TRUE(std::filesystem::is_empty(disk.path()));
    test::run_ranks(3, [&](const comm::Communicator& group) {
      Model model = make(group, run);
      EXPECT_EQ(restore(*model.engine, checkpoint::Reader(root.path())).step, 3);
      for (int64_t step = 3; step < run.steps; ++step)
        EXPECT_EQ(train_step(model, step).loss, expected[static_cast<size_t>(step)]);
      group.barrier();
    });
  }
}

TEST(Offload, KeepsNoDescriptorOverSteps) {
  const auto before = test::open_descriptors();
  test::run_ranks(1, [&](const comm::Communicator& group) {
    Model model = make(group, {.stage = 3, .files = true, .parameter_files = true});
    train_step(model, 0);
    const auto during = test::open_descriptors();
    for (int64_t step = 1; step < 20; ++step) train_step(model, step);
    EXPECT_EQ(test::open_descriptors(), during);
  });
  EXPECT_EQ(test::open_descriptors(), before);
}

// --- offload_states

using memory::Category;

size_t bytes_of(Model& model, Category category) {
  return model.engine->ledger().bytes(category);
}

TEST(OffloadStates, LeaveMemoryAndComeBackAsTheyWere) {
  const test::Scratch folder;
  for (const auto storage : {DType::kF32, DType::kBF16})
    for (const int ranks : {1, 3})
      for (const int stage : {0, 1, 2, 3}) {
        const Training run{.ranks = ranks, .stage = stage, .storage = storage, .steps = 3};
        const auto expected = train(run);
        test::run_ranks(ranks, [&](const comm::Communicator& group) {
          Model model = make(group, run);
          for (int64_t step = 0; step < run.steps; ++step) {
            EXPECT_EQ(train_step(model, step).loss, expected[static_cast<size_t>(step)])
                << "stage " << stage << ", ranks " << ranks << ", " << name_of(storage);
            const size_t parameters = bytes_of(model, Category::kParameters),
                         optimizer = bytes_of(model, Category::kOptimizer);
            model.engine->offload_states({.folder = folder.path()});
            for (const auto category :
                 {Category::kParameters, Category::kGradients, Category::kOptimizer})
              EXPECT_EQ(bytes_of(model, category), 0u) << memory::name_of(category);
            model.engine->reload_states();
            EXPECT_EQ(bytes_of(model, Category::kOptimizer), optimizer);
            EXPECT_LE(bytes_of(model, Category::kParameters), parameters);
            EXPECT_GT(bytes_of(model, Category::kParameters), 0u);
          }
          group.barrier();
        });
      }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// Between phases that need the weights only: they stay, and can be used.
TEST(OffloadStates, TakeWhatIsNamed) {
  test::run_ranks(2, [&](const comm::Communicator& group) {
    const Training run{.ranks = 2, .stage = 2, .storage = DType::kBF16};
    Model model = make(group, run);
    const double loss = train_step(model, 0).loss;
    const size_t parameters = bytes_of(model, Category::kParameters),
                 optimizer = bytes_of(model, Category::kOptimizer);
    auto& engine = *model.engine;
    engine.offload_states({.folder = testing::TempDir()},
                          {.masters = false, .parameters = false, .gradients = false});
    EXPECT_EQ(bytes_of(model, Category::kOptimizer), optimizer / 3) << "the masters stay";
    EXPECT_EQ(bytes_of(model, Category::kParameters), parameters);
    EXPECT_GT(bytes_of(model, Category::kGradients), 0u);
    EXPECT_NE(batch_loss(*model.program, batch_at(0), false).sum.item<double>(), loss);
    EXPECT_THROW(train_step(model, 1), Error) << "the optimizer is away";
    EXPECT_THROW(engine.offload_states({.folder = testing::TempDir()}), Error);
    engine.reload_states();
    EXPECT_EQ(bytes_of(model, Category::kOptimizer), optimizer);
    train_step(model, 1);
    group.barrier();
  });
}

TEST(OffloadStates, AreSaidToBeAwayWhereTheyAreUsed) {
  test::run_ranks(1, [&](const comm::Communicator& group) {
    for (const int stage : {0, 3}) {
      Model model = make(group, {.stage = stage, .accumulation = 2});
      const auto loss = batch_loss(*model.program, batch_at(0), false);
      model.engine->backward(loss.sum, loss.weight);
      EXPECT_THROW(model.engine->offload_states({.folder = testing::TempDir()}), Error)
          << "gradients have been accumulated";
      Model other = make(group, {.stage = stage});
      other.engine->offload_states({.folder = testing::TempDir()});
      try {
        batch_loss(*other.program, batch_at(0), false);
        ADD_FAILURE() << "computed with parameters that are away";
      } catch (const Error& error) {
        EXPECT_THAT(error.line(), testing::HasSubstr("reload_states()"));
      }
    }
  });
}

// From memory to files and back, over another stage and number of ranks.
TEST(Offload, ACheckpointDoesNotKnowWhereStatesLay) {
  const test::Scratch folder;
  for (const auto storage : {DType::kF32, DType::kBF16})
    for (const bool first_in_files : {false, true}) {
      const Training whole{.ranks = 2, .stage = 1, .storage = storage, .steps = 8};
      const auto expected = train(whole);
      test::run_ranks(2, [&](const comm::Communicator& group) {
        Training run = whole;
        run.files = first_in_files;
        {
          Model model = make(group, run);
          for (int64_t step = 0; step < 4; ++step) train_step(model, step);
          checkpoint::save(group, snapshot(*model.engine, {.step = 4, .attempts = 4}, {}),
                           {.root = folder.path(), .keep = 1, .created_by = "test"});
          for (int64_t step = 4; step < 6; ++step)  // goes on unharmed
            EXPECT_EQ(train_step(model, step).loss, expected[static_cast<size_t>(step)]);
        }
        run.files = run.parameter_files = !first_in_files, run.stage = 3;
        Model model = make(group, run);
        EXPECT_EQ(restore(*model.engine, checkpoint::Reader(folder.path())).step, 4);
        for (int64_t step = 4; step < 8; ++step)
          EXPECT_EQ(train_step(model, step).loss, expected[static_cast<size_t>(step)]);
        group.barrier();
      });
    }
}

}  // namespace
}  // namespace hydrofoil::train::offload_test
