// SPDX-License-Identifier: Apache-2.0
// Several groups of ranks, each with an engine for boxes of the model's tensors: together one
// model, one norm, one checkpoint.
#include "hydrofoil/core/box.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/train/snapshot.h"
#include "tests/io/scratch.h"
#include "tests/support/ranks.h"
#include "tests/train/same_checkpoint.h"

namespace hydrofoil::train::box_test {
namespace {

// A model of three tensors for one of `parts` groups: `rows` and `columns` are cut, uneven where
// they must be; `all` is everybody's, and saved by the first.
std::vector<UnitDeclaration> units_of(int part, int parts) {
  const auto cut = [&](int64_t n) {
    const int64_t begin = n * part / parts;
    return Box::Slice{begin, n * (part + 1) / parts - begin};
  };
  const auto rows = cut(97), columns = cut(31);
  const Box all = part == 0 ? Box{} : Box{.whole = {300}, .slices = {{0, 300, true}}};
  return {{.name = "first",
           .parameters = {{.name = "rows",
                           .shape = {rows.count, 17},
                           .box = {.whole = {97, 17}, .slices = {rows}}},
                          {.name = "all", .shape = {300}, .box = all}}},
          {.name = "second",
           .parameters = {{.name = "columns",
                           .shape = {53, columns.count},
                           .box = {.whole = {53, 31}, .dim = 1, .slices = {columns}}}}}};
}

float value_of(const std::string& name, size_t i) {
  return static_cast<float>(static_cast<double>((name.size() * 7919 + i * 104729) % 1009) / 1009 -
                            0.4);
}

struct Part {
  Part(const comm::Communicator& world, int parts, EngineOptions options)
      : group(world.split(world.rank() % parts, world.rank(), "zero")) {
    at::set_num_threads(1);
    options.copy = world.split(world.rank() / parts, world.rank(), "copy");
    engine =
        std::make_unique<Engine>(group, units_of(world.rank() % parts, parts), std::move(options));
  }
  void fill() const {
    engine->fill_parameters([](const std::string& name, size_t begin, std::span<float> out) {
      for (size_t i = 0; i < out.size(); ++i) out[i] = value_of(name, begin + i);
    });
  }
  // Every element's gradient is its own cube.
  StepResult step() const {
    engine->backward((engine->tensor("rows").pow(4).sum() + engine->tensor("all").pow(4).sum() +
                      engine->tensor("columns").pow(4).sum()) /
                     4);
    return engine->step();
  }

  comm::Communicator group;
  std::unique_ptr<Engine> engine;
};

struct Trained {
  std::vector<double> norms;
  std::string folder;
};

// Three steps, then a checkpoint.
Trained train(const std::string& root, int ranks, int parts, const EngineOptions& options) {
  Trained result;
  test::run_ranks(ranks, [&](const comm::Communicator& world) {
    const Part part(world, parts, options);
    part.fill();
    for (int step = 0; step < 3; ++step) {
      const double norm = part.step().gradient_norm;
      if (world.rank() == 0) result.norms.push_back(norm);
    }
    const auto folder =
        checkpoint::save(world, snapshot(*part.engine, {.step = 3}, {}), {.root = root});
    if (world.rank() == 0) result.folder = folder.string();
  });
  return result;
}

TEST(Boxes, SeveralGroupsTrainOneModelAndSaveOneCheckpoint) {
  const io::Scratch scratch;
  const EngineOptions plain{.groups = {{.lr = 0.01}}};
  const Trained alone = train(scratch.path() / "alone", 1, 1, plain);
  const checkpoint::Reader want(alone.folder);
  int run = 0;
  for (const auto& [ranks, parts] : {std::pair(2, 2), {3, 3}, {4, 2}, {6, 3}})
    for (const int stage : {0, 1, 2, 3}) {
      EngineOptions options = plain;
      options.stage = stage;
      const auto got = train(scratch.path() / std::to_string(run++), ranks, parts, options);
      for (size_t i = 0; i < 3; ++i)
        EXPECT_NEAR(got.norms[i], alone.norms[i], 1e-6 * alone.norms[i]) << ranks << " " << stage;
      SCOPED_TRACE(std::to_string(ranks) + " ranks in " + std::to_string(parts) + " parts, stage " +
                   std::to_string(stage));
      expect_same_tensors(checkpoint::Reader(got.folder), want);
    }
}

TEST(Boxes, ACheckpointLoadsUnderAnyOtherParts) {
  const io::Scratch scratch;
  const EngineOptions options{.stage = 2, .groups = {{.lr = 0.01}}};
  const auto saved = train(scratch.path() / "first", 4, 2, options);
  const checkpoint::Reader want(saved.folder);
  for (const auto& [ranks, parts] : {std::pair(1, 1), {2, 1}, {3, 3}, {5, 5}}) {
    const auto root = scratch.path() / std::to_string(ranks);
    test::run_ranks(ranks, [&](const comm::Communicator& world) {
      const Part part(world, parts, options);
      const Progress progress = restore(*part.engine, want);
      checkpoint::save(world, snapshot(*part.engine, progress, {}), {.root = root});
    });
    expect_same_tensors(checkpoint::Reader(root / checkpoint::step_name(3)), want);
  }
}

// What one part finds, all skip.
TEST(Boxes, AStepIsSkippedByAllWhereOnePartIsNotFinite) {
  test::run_ranks(2, [&](const comm::Communicator& world) {
    const Part part(world, 2, {.groups = {{.lr = 0.01}}});
    part.engine->fill_parameters([](const std::string& name, size_t begin, std::span<float> out) {
      std::fill(out.begin(), out.end(), 1.0f);
      if (name == "rows" && begin == 0) out[0] = 1e20f;
    });
    EXPECT_FALSE(part.step().applied);
  });
}

}  // namespace
}  // namespace hydrofoil::train::box_test
