// SPDX-License-Identifier: Apache-2.0
// How finely a model is cut into units: what it changes of the numbers (nothing, or their rounding
// where the vocabulary comes in tiles) and of the memory.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/comm/meter.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/plan/memory_plan.h"
#include "hydrofoil/plan/wire_plan.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/snapshot.h"
#include "tests/train/training.h"

namespace hydrofoil::train::units_test {
namespace {

constexpr int64_t kWholeVocabulary = 3600, kTiles = 1000;  // elements: 97 x 36 = 3492

struct Training {
  int ranks = 1, stage = 0;
  int64_t unit_elements = 0;
  bool files = false, recompute = true, tied = true;
  int64_t mlp_rows = 0, accumulation = 1, steps = 5;
  bool autocast = false, sparse_gradients = false, in_backward = false;
  spec::ParameterTypes types() const {
    return {.others = DType::kF32, .linear = autocast ? DType::kBF16 : DType::kF32};
  }
};

EngineOptions options_of(const Training& run) {
  EngineOptions options{.stage = run.stage,
                        .accumulation = run.accumulation,
                        .gradient_clipping = run.in_backward ? 0 : 0.5,
                        .wire_as_parameters = run.autocast,
                        .sparse_gradients = run.sparse_gradients,
                        .update_in_backward = run.in_backward,
                        .groups = {{.lr = 1e-2, .weight_decay = 0.1}}};
  if (!run.files) return options;
  const auto tier = small_files(1024);
  options.state_files = {.tier = tier};
  if (run.stage == 3) options.parameter_files = tier;
  return options;
}

Model make(const comm::Communicator& group, const Training& run, EngineOptions options) {
  at::set_num_threads(1);
  Model model = make_model(group, tiny_gpt2(3, run.tied), std::move(options), run.types(),
                           {.unit_elements = run.unit_elements, .mlp_rows = run.mlp_rows});
  initialize(model, 3);
  return model;
}

std::vector<double> train(const Training& run) {
  return losses_of(
      run.ranks, run.steps,
      [&](const comm::Communicator& group) { return make(group, run, options_of(run)); },
      run.recompute);
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want,
                 double error = 1e-5) {
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], error * want[i]) << i;
}

TEST(Units, PartsOfBlocksChangeNothingAtAnyStage) {
  for (const int ranks : {1, 2, 3}) {
    const auto whole = train({.ranks = ranks});
    for (const int stage : {0, 1, 2, 3})
      for (const bool files : {false, true})
        EXPECT_EQ(train({.ranks = ranks,
                         .stage = stage,
                         .unit_elements = kWholeVocabulary,
                         .files = files}),
                  whole)
            << ranks << " ranks, stage " << stage << (files ? ", files" : "");
  }
}

TEST(Units, TilesOfTheVocabularyChangeTheRoundingOnly) {
  for (const bool tied : {true, false})
    for (const int ranks : {1, 3}) {
      const auto whole = train({.ranks = ranks, .tied = tied, .accumulation = 2});
      for (const int stage : {0, 1, 2, 3}) {
        SCOPED_TRACE(testing::Message() << ranks << " ranks, stage " << stage);
        Training run{.ranks = ranks,
                     .stage = stage,
                     .unit_elements = kTiles,
                     .tied = tied,
                     .accumulation = 2};
        const auto in_memory = train(run);
        expect_near(in_memory, whole);
        run.files = true;
        EXPECT_EQ(train(run), in_memory);
        run.recompute = false;
        EXPECT_EQ(train(run), in_memory);
      }
    }
}

// Of the tiles of an embedding, too, only the rows of a batch's tokens travel.
TEST(Units, SparseGradientsOfTilesGiveEqualBits) {
  for (const int ranks : {1, 2, 3})
    for (const int64_t unit_elements : {kWholeVocabulary, kTiles})
      for (const bool files : {false, true})
        for (const bool in_backward : {false, true}) {
          Training run{.ranks = ranks,
                       .unit_elements = unit_elements,
                       .files = files,
                       .tied = false,
                       .accumulation = 2,
                       .in_backward = in_backward};
          const auto dense = train(run);
          run.sparse_gradients = true;
          EXPECT_EQ(train(run), dense)
              << ranks << " ranks, " << unit_elements << (files ? ", files" : "") << in_backward;
        }
}

// A tile is rounded where it multiplies, as the whole matrix is. bf16 has 8 bits.
TEST(Units, TilesAndChunksUnderAutocastChangeTheRoundingOnly) {
  for (const bool tied : {true, false})
    for (const int ranks : {1, 3}) {
      SCOPED_TRACE(testing::Message() << ranks << " ranks" << (tied ? ", tied" : ""));
      const auto whole = train({.ranks = ranks, .tied = tied, .autocast = true});
      EXPECT_NE(whole, train({.ranks = ranks, .tied = tied}));
      for (const int stage : {0, 1, 2, 3}) {
        Training run{.ranks = ranks,
                     .stage = stage,
                     .unit_elements = kTiles,
                     .tied = tied,
                     .mlp_rows = 13,
                     .autocast = true};
        const auto in_memory = train(run);
        expect_near(in_memory, whole, 1e-3);
        run.files = true;
        EXPECT_EQ(train(run), in_memory) << "stage " << stage;
      }
    }
}

// 34 tokens a micro-batch; weights of a feed-forward in units of their own.
TEST(Units, AFeedForwardInChunksChangesTheRoundingOnly) {
  for (const int ranks : {1, 2}) {
    const auto whole = train({.ranks = ranks});
    for (const int64_t rows : {1, 13, 17, 33, 34})
      for (const bool recompute : {false, true}) {
        SCOPED_TRACE(testing::Message() << ranks << " ranks, " << rows << " rows");
        Training run{.ranks = ranks,
                     .unit_elements = kWholeVocabulary,
                     .recompute = recompute,
                     .mlp_rows = rows};
        const auto in_chunks = train(run);
        expect_near(in_chunks, whole);
        if (rows == 34) {
          EXPECT_EQ(in_chunks, whole);
        }
        run.stage = 3;
        EXPECT_EQ(train(run), in_chunks);
      }
  }
}

// The third step: the order of use is known, and every state has been written.
TEST(Units, LedgerAndMeterEqualThePlan) {
  for (const auto& [tied, autocast] : {std::pair{true, false}, {false, false}, {false, true}})
    for (const bool recompute : {false, true})
      for (const int64_t unit_elements : {kWholeVocabulary, kTiles})
        test::run_ranks(3, [&, tied = tied, autocast = autocast](const comm::Communicator& group) {
          const Training run{.ranks = 3,
                             .stage = 3,
                             .unit_elements = unit_elements,
                             .recompute = recompute,
                             .tied = tied,
                             .accumulation = 2,
                             .autocast = autocast};
          const auto planned_model = plan::model_of(tiny_gpt2(3, tied), unit_elements);
          plan::RunShape shape{.ranks = 3,
                               .stage = 3,
                               .micro_batch = 2,
                               .accumulation = 2,
                               .sequence_length = kLength,
                               .recompute = recompute};
          if (autocast)
            shape.linear = plan::ElementBytes{
                .parameter = 2, .compute = 2, .gradient_wire = 2, .optimizer_widths = {4, 4, 4}};
          auto options = options_of(run);
          options.resident_bytes = plan::smallest_resident_bytes(planned_model, shape);
          Model model = make(group, run, options);
          for (int64_t step = 0; step < 2; ++step) train_step(model, step, run.recompute);
          const auto before = group.meter().snapshot();
          train_step(model, 2, run.recompute);
          const auto used = group.meter().snapshot() - before;
          const auto memory = plan::plan_memory(planned_model, shape);
          const auto wire = plan::plan_wire(planned_model, shape);
          const auto& ledger = model.engine->ledger();
          EXPECT_EQ(ledger.peak_bytes(memory::Category::kParameters), memory.parameters());
          EXPECT_EQ(ledger.peak_bytes(memory::Category::kGradients), memory.gradients);
          EXPECT_EQ(ledger.peak_bytes(memory::Category::kOptimizer), memory.optimizer);
          EXPECT_EQ(used.of({}, comm::Purpose::kGradients).bytes, wire.reduce_scatter);
          EXPECT_EQ(used.of({}, comm::Purpose::kParameters).bytes, wire.read);
          group.barrier();
        });
}

// From tiles to whole matrices and back, over other ranks and stages.
TEST(Units, ACheckpointDoesNotKnowThem) {
  const auto folder =
      std::filesystem::path(testing::TempDir()) / ("hydrofoil-units-" + std::to_string(::getpid()));
  const Training tiles{.ranks = 2, .stage = 3, .unit_elements = kTiles, .steps = 6};
  const Training whole{.ranks = 2, .stage = 1, .steps = 6};
  for (const auto& [first, second] : {std::pair{tiles, whole}, {whole, tiles}}) {
    std::filesystem::remove_all(folder);
    const auto expected = train(whole);
    test::run_ranks(2, [&](const comm::Communicator& group) {
      {
        Model model = make(group, first, options_of(first));
        for (int64_t step = 0; step < 3; ++step) train_step(model, step, first.recompute);
        checkpoint::save(group, snapshot(*model.engine, {.step = 3, .attempts = 3}, {}),
                         {.root = folder, .keep = 1, .created_by = "test"});
      }
      Model model = make(group, second, options_of(second));
      EXPECT_EQ(restore(*model.engine, checkpoint::Reader(folder)).step, 3);
      for (int64_t step = 3; step < 6; ++step)
        EXPECT_NEAR(train_step(model, step, second.recompute).loss,
                    expected[static_cast<size_t>(step)], 5e-5);
      group.barrier();
    });
  }
  std::filesystem::remove_all(folder);
}

TEST(Units, NormsOfWholeTensorsAreNotTakenOfTiles) {
  test::run_ranks(1, [&](const comm::Communicator& group) {
    Training run{.unit_elements = kTiles};
    EngineOptions options = options_of(run);
    options.optimizer = "lamb";
    try {
      make(group, run, options);
      FAIL() << "took norms of tiles";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kConfig);
      EXPECT_NE(error.line().find("transformer.wte.weight"), std::string::npos) << error.line();
    }
  });
}

}  // namespace
}  // namespace hydrofoil::train::units_test
