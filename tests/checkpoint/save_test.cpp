// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/save.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/verify.h"
#include "hydrofoil/io/safetensors_set.h"
#include "tests/checkpoint/support.h"

namespace hydrofoil::checkpoint::save_test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kLarge = 100003, kSmall = 1009;

TEST(Save, LoadsOnAnyNumberOfRanksBitForBit) {
  const Model model(100, kLarge);
  for (int savers = 1; savers <= 4; ++savers) {
    const Scratch scratch;
    model.save_on(savers, {scratch.path()});
    EXPECT_TRUE(verify(scratch.path()).empty());
    const Reader reader(scratch.path());
    EXPECT_EQ(reader.folder(), scratch / "step-00000100");
    for (int loaders = 1; loaders <= 5; ++loaders)
      EXPECT_EQ(model.difference(reader, loaders), "") << savers << " -> " << loaders;
  }
}

TEST(Save, WritesTheSameFilesOnAnyNumberOfRanks) {
  const Model model(100, kLarge);
  const Scratch scratch;
  for (int ranks = 1; ranks <= 4; ++ranks) model.save_on(ranks, {scratch / std::to_string(ranks)});
  for (const char* name :
       {"manifest.json", "model.safetensors", "optimizer.safetensors", "config.json"})
    for (int ranks = 2; ranks <= 4; ++ranks)
      EXPECT_TRUE(get(scratch / std::to_string(ranks) / "step-00000100" / name) ==
                  get(scratch / "1" / "step-00000100" / name))
          << name << " on " << ranks;
}

TEST(Save, TheFilesAreSafetensorsAndTheDigestsThoseOfTheTensors) {
  const Model model(100, kSmall);
  const Scratch scratch;
  model.save_on(3, {scratch.path()});
  const Reader reader(scratch.path());
  for (const Model::Tensor& tensor : model.tensors) {
    const io::SafetensorsFile file(scratch / "step-00000100" / tensor.file);
    EXPECT_EQ(file.header().metadata.at("format"), "pt");
    const io::StoredTensor& stored = file.at(tensor.name);
    EXPECT_EQ(stored.shape, tensor.shape);
    EXPECT_TRUE(std::ranges::equal(file.mapped(stored), tensor.bytes)) << tensor.name;
    EXPECT_EQ(reader.tensor(tensor.file, tensor.name).hash,
              io::hash_of(std::span(std::as_const(tensor.bytes))));
  }
  EXPECT_EQ(reader.manifest().created_by, "hydrofoil");
  EXPECT_FALSE(reader.manifest().code_version.empty());
}

TEST(Save, SplitsLargeFilesTheSameWayOnAnyNumberOfRanks) {
  const Model model(100, kSmall);
  const Scratch scratch;
  for (int ranks = 1; ranks <= 4; ++ranks) {
    model.save_on(ranks, {.root = scratch / std::to_string(ranks), .max_file_bytes = 4000});
    const fs::path folder = scratch / std::to_string(ranks) / "step-00000100";
    EXPECT_EQ(names_in(folder), names_in(scratch / "1" / "step-00000100"));
    for (const std::string& name : names_in(folder))
      EXPECT_TRUE(get(folder / name) == get(scratch / "1" / "step-00000100" / name)) << name;
    EXPECT_TRUE(verify(folder).empty());
    const Reader reader(folder);
    for (int loaders = 1; loaders <= 3; ++loaders)
      EXPECT_EQ(model.difference(reader, loaders), "") << ranks << " -> " << loaders;
  }
  EXPECT_THAT(
      names_in(scratch / "3" / "step-00000100"),
      ElementsAre("config.json", "manifest.json", "model-00001-of-00004.safetensors",
                  "model-00002-of-00004.safetensors", "model-00003-of-00004.safetensors",
                  "model-00004-of-00004.safetensors", "model.safetensors.index.json",
                  "optimizer-00001-of-00003.safetensors", "optimizer-00002-of-00003.safetensors",
                  "optimizer-00003-of-00003.safetensors", "optimizer.safetensors.index.json",
                  "state.json"));
}

TEST(Save, PartsLoadAsHuggingFacesDo) {
  const Model model(100, kSmall);
  const Scratch scratch;
  model.save_on(2, {.root = scratch.path(), .max_file_bytes = 4000});
  const io::SafetensorsSet set(scratch / "step-00000100");
  size_t weights = 0;
  for (const Model::Tensor& tensor : model.tensors) {
    if (tensor.file != "model.safetensors") continue;
    ++weights;
    const auto& [file, stored] = set.at(tensor.name);
    EXPECT_EQ(stored->shape, tensor.shape);
    EXPECT_TRUE(std::ranges::equal(file->mapped(*stored), tensor.bytes)) << tensor.name;
  }
  EXPECT_EQ(set.tensors().size(), weights);
}

TEST(Save, KeepsTheNewestAndNamesTheLast) {
  const Scratch scratch;
  for (const int64_t step : {1, 2, 3, 4}) Model(step, kSmall).save_on(2, {scratch.path(), 2});
  EXPECT_THAT(names_in(scratch.path()), ElementsAre("latest", "step-00000003", "step-00000004"));
  EXPECT_EQ(get(scratch / "latest"), "step-00000004\n");
  for (const int64_t step : {5, 6}) Model(step, kSmall).save_on(2, {scratch.path(), 0});
  EXPECT_EQ(names_in(scratch.path()).size(), 5u);
  Model(7, kSmall).save_on(2, {scratch.path(), 1});
  EXPECT_THAT(names_in(scratch.path()), ElementsAre("latest", "step-00000007"));
}

TEST(Save, OnlyRemovesCompleteOlderCheckpointsAndOwnLeftovers) {
  const Scratch scratch;
  Model(9, kSmall).save_on(1, {scratch.path()});
  fs::create_directories(scratch / "step-00000003");
  fs::create_directories(scratch / "step-00000004.tmp-0123");
  fs::create_directories(scratch / "my.tmp-notes");
  put(scratch / "latest.tmp-55", "x");
  for (const int64_t step : {5, 6, 7}) Model(step, kSmall).save_on(1, {scratch.path(), 2});
  // A later step, of a run that was then resumed from an earlier one, is not ours to remove.
  EXPECT_THAT(names_in(scratch.path()),
              ElementsAre("latest", "my.tmp-notes", "step-00000003", "step-00000006",
                          "step-00000007", "step-00000009"));
  EXPECT_EQ(Reader(scratch.path()).step(), 7);
}

TEST(Save, ReplacesTheSameStep) {
  const Scratch scratch;
  Model(5, kSmall).save_on(1, {scratch.path()});
  Model other(6, kSmall);
  other.step = 5;
  other.save_on(3, {scratch.path()});
  EXPECT_EQ(other.difference(Reader(scratch.path())), "");
  EXPECT_THAT(names_in(scratch.path()), ElementsAre("latest", "step-00000005"));
}

TEST(Save, AGapIsALogicErrorOnAllRanksBeforeAnythingIsWritten) {
  const Scratch scratch;
  const Model model(5, kSmall);
  run_ranks(3, [&](const comm::Communicator& group) {
    Snapshot snapshot = model.snapshot(group.rank(), group.size());
    if (group.rank() == 1) snapshot.files[1].tensors[1].mine.pop_back();
    try {
      save(group, snapshot, {scratch / "new"});
      ADD_FAILURE() << "saved on rank " << group.rank();
    } catch (const std::logic_error& error) {
      EXPECT_THAT(error.what(), HasSubstr("'exp_avg.h.0.weight' of optimizer.safetensors"));
      EXPECT_THAT(error.what(), HasSubstr("are owned by no rank"));
    }
  });
  EXPECT_FALSE(fs::exists(scratch / "new"));
}

TEST(Save, AFolderThatCannotBeMadeFailsOnAllRanks) {
  const Scratch scratch;
  put(scratch / "file", "");
  const Model model(5, kSmall);
  run_ranks(3, [&](const comm::Communicator& group) {
    const Snapshot snapshot = model.snapshot(group.rank(), group.size());
    EXPECT_THAT(error_line([&] { save(group, snapshot, {scratch / "file" / "runs"}); }),
                HasSubstr("file/runs: rank 0: cannot make the folder: Not a directory"));
    save(group, snapshot, {scratch / "elsewhere"});
  });
  EXPECT_EQ(model.difference(Reader(scratch / "elsewhere")), "");
}

TEST(Save, NothingButTextsIsACheckpointToo) {
  const Scratch scratch;
  run_ranks(2, [&](const comm::Communicator& group) {
    save(group, {0, {}, {{"state.json", "{}"}}}, {scratch.path()});
  });
  EXPECT_EQ(Reader(scratch.path()).text("state.json"), "{}");
  EXPECT_TRUE(verify(scratch.path()).empty());
}

}  // namespace
}  // namespace hydrofoil::checkpoint::save_test
