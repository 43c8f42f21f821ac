// SPDX-License-Identifier: Apache-2.0
// Saves beside training: the bytes of the moment of start(), failures that are told once, bounded
// memory.
#include "hydrofoil/checkpoint/saver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "hydrofoil/checkpoint/folder.h"
#include "tests/checkpoint/support.h"

namespace hydrofoil::checkpoint::saver_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr int64_t kSmall = 1009;

std::vector<std::byte> numbered(size_t bytes, size_t seed) {
  std::vector<std::byte> result(bytes);
  for (size_t i = 0; i < bytes; ++i) result[i] = static_cast<std::byte>((i * 7 + seed) % 251);
  return result;
}

TEST(CopyBuffer, GivesWhatWasPutHoweverSmallItIs) {
  std::vector<std::vector<std::byte>> fragments;
  for (const size_t bytes : {17u, 0u, 97u, 10007u, 1u, 4096u})
    fragments.push_back(numbered(bytes, fragments.size()));
  for (const size_t size : {1u, 13u, 4096u, 20000u}) {
    CopyBuffer buffer(size);
    for (int round = 0; round < 2; ++round) {
      buffer.reset();
      std::vector<std::vector<std::byte>> taken(fragments.size());
      std::thread drain([&] {
        buffer.drain([&](size_t fragment, uint64_t offset, std::span<const std::byte> part) {
          EXPECT_EQ(offset, taken[fragment].size());
          EXPECT_LE(part.size(), size);
          taken[fragment].insert(taken[fragment].end(), part.begin(), part.end());
        });
      });
      for (size_t i = 0; i < fragments.size(); ++i) buffer.put(i, 0, fragments[i]);
      buffer.end();
      drain.join();
      EXPECT_EQ(taken, fragments) << size;
    }
  }
}

TEST(CopyBuffer, LetsGoWhenNobodyDrains) {
  CopyBuffer buffer(16);
  std::thread close([&] { buffer.close(); });
  buffer.put(0, 0, numbered(1009, 0));  // returns, however much is left
  close.join();
}

// What training does to its memory after wait_for_copy() must not be in the files.
TEST(Saver, FilesHoldTheBytesOfTheStart) {
  for (const size_t buffer_bytes : {size_t{100}, size_t{5000}, size_t{1} << 30}) {
    for (int ranks = 1; ranks <= 4; ++ranks) {
      const Scratch root;
      const Model saved(7, kSmall);
      run_ranks(ranks, [&](const comm::Communicator& group) {
        Model mine = saved;
        Saver saver(group, {root.path()}, buffer_bytes);
        saver.start(mine.snapshot(group.rank(), group.size()));
        saver.wait_for_copy();
        for (auto& tensor : mine.tensors)
          std::fill(tensor.bytes.begin(), tensor.bytes.end(), std::byte{0xee});
        const auto outcome = saver.finish();
        ASSERT_TRUE(outcome);
        EXPECT_EQ(outcome->step, 7);
        EXPECT_EQ(outcome->folder, root.path() / "step-00000007");
        EXPECT_GE(outcome->seconds, outcome->waited_seconds);
      });
      EXPECT_EQ(saved.difference(Reader(root.path()), 3), "") << ranks << ", " << buffer_bytes;
      saved.save_on(ranks, {root / "again"});
      for (const std::string& name : names_in(root / "again" / "step-00000007"))
        EXPECT_EQ(get(root / "again" / "step-00000007" / name), get(root / "step-00000007" / name))
            << name;
    }
  }
}

TEST(Saver, TrainingGoesOnMeanwhileAndHearsOfItOnce) {
  const Scratch root;
  const Model saved(7, 50021);
  run_ranks(3, [&](const comm::Communicator& group) {
    Saver saver(group, {root.path()}, size_t{1} << 20);
    EXPECT_FALSE(saver.poll());
    EXPECT_FALSE(saver.finish());
    saver.start(saved.snapshot(group.rank(), group.size()));
    int ended_here = 0;
    std::optional<Saved> outcome;
    for (float ended = 0; ended < 3;) {  // collectives of the group, until all ranks have heard
      if (auto told = saver.poll()) {
        outcome = told;
        ++ended_here;
      }
      ended = static_cast<float>(ended_here);
      group.all_reduce({&ended, 1, DType::kF32}, comm::Reduce::kSum, {});
    }
    EXPECT_EQ(ended_here, 1);
    EXPECT_EQ(outcome->step, 7);
    EXPECT_FALSE(saver.finish());
  });
  EXPECT_EQ(saved.difference(Reader(root.path())), "");
}

// Two ranks, a buffer that holds nothing of either: only the disk lets the copies go on.
TEST(Saver, MemoryMayBeReadUntilItIsCopied) {
  const Scratch root;
  const Model saved(7, 50021);
  run_ranks(2, [&](const comm::Communicator& group) {
    Saver saver(group, {root.path()}, 64);
    saver.start(saved.snapshot(group.rank(), group.size()));
    float sum = 1;  // neither the copy nor the save holds the ranks up
    group.all_reduce({&sum, 1, DType::kF32}, comm::Reduce::kSum, {});
    EXPECT_EQ(sum, 2);
    saver.wait_for_copy();
    const auto outcome = saver.finish();
    ASSERT_TRUE(outcome);
    EXPECT_GE(outcome->seconds, outcome->waited_seconds);
  });
  EXPECT_EQ(saved.difference(Reader(root.path())), "");
}

TEST(Saver, AFailureIsToldOnceAndTheNextSaveIsAsGood) {
  const Scratch scratch;
  const fs::path root = scratch / "root";
  run_ranks(2, [&](const comm::Communicator& group) {
    Saver saver(group, {root}, 1000);
    if (group.rank() == 0) put(root, "a file where the folder should be");
    group.barrier();
    const Model refused(1, kSmall);
    saver.start(refused.snapshot(group.rank(), group.size()));
    EXPECT_THAT(error_line([&] { saver.finish(); }), HasSubstr(root.string()));
    EXPECT_FALSE(saver.finish());
    group.barrier();
    if (group.rank() == 0) fs::remove(root);
    group.barrier();
    const Model next(2, kSmall);
    saver.start(next.snapshot(group.rank(), group.size()));
    EXPECT_TRUE(saver.finish());
  });
  EXPECT_EQ(Model(2, kSmall).difference(Reader(root)), "");
}

TEST(Saver, BytesThatCannotBeBroughtLeaveNoCheckpoint) {
  const Scratch root;
  run_ranks(2, [&](const comm::Communicator& group) {
    const Model saved(3, kSmall);
    Snapshot snapshot = saved.snapshot(group.rank(), group.size());
    if (group.rank() == 1) {
      Fragment& fragment = snapshot.files[0].tensors[0].mine.front();
      fragment.fetched_bytes = std::exchange(fragment.bytes, {}).size();
      fragment.fetch = [](size_t, std::span<std::byte>) {
        throw Error(ExitCode::kError, "the disk is gone");
      };
    }
    Saver saver(group, {root.path()}, size_t{1} << 20);
    if (group.rank() == 1) {
      saver.start(std::move(snapshot));
      EXPECT_EQ(error_line([&] { saver.wait_for_copy(); }), "the disk is gone");
      saver.wait_for_copy();  // told once
    } else {
      saver.start(std::move(snapshot));
    }
    EXPECT_NE(error_line([&] { saver.finish(); }), "");
  });
  EXPECT_TRUE(fs::is_empty(root.path()));
}

// Gaps are found by all ranks, while their memory waits to be copied.
TEST(Saver, ASnapshotThatIsNoneIsTold) {
  const Scratch root;
  run_ranks(2, [&](const comm::Communicator& group) {
    Saver saver(group, {root.path()}, 100);
    const Model saved(1, kSmall);  // its memory outlives the copy
    Snapshot snapshot = saved.snapshot(group.rank(), group.size());
    if (group.rank() == 1) snapshot.files[0].tensors[0].mine.clear();
    saver.start(std::move(snapshot));
    EXPECT_THROW(saver.start({}), std::logic_error);
    try {
      saver.finish();
      ADD_FAILURE() << "a gap was saved";
    } catch (const std::logic_error& error) {
      EXPECT_THAT(error.what(), HasSubstr("owned by no rank"));
    }
  });
  EXPECT_FALSE(latest_complete(root.path()));
}

TEST(Saver, AnEndWithoutAQuestionWaitsForTheSave) {
  const Scratch root;
  const Model saved(7, kSmall);
  run_ranks(2, [&](const comm::Communicator& group) {
    Saver saver(group, {root.path()}, 1 << 20);
    saver.start(saved.snapshot(group.rank(), group.size()));
  });
  EXPECT_EQ(saved.difference(Reader(root.path())), "");
}

}  // namespace
}  // namespace hydrofoil::checkpoint::saver_test
