// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/file_tier.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/memory/column.h"
#include "tests/support/faults.h"
#include "tests/support/ranks.h"

namespace hydrofoil::memory::file_tier_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr size_t kPage = io::kDirectAlign;

class FileTierTest : public ::testing::Test {
 protected:
  FileTierOptions options(size_t buffers = 4) const {
    return {.folder = ::testing::TempDir(),
            .io = {.block_bytes = kPage, .queue_depth = 3},
            .buffers = buffers,
            .chunk_elements = 1024};
  }
  Ledger ledger_;
};

TEST_F(FileTierTest, OtherBytesThanWereWrittenAreAnError) {
  FileTier tier(options(), ledger_, Category::kOptimizer);
  const auto column = Column::in_file(1025, DType::kF32, tier);  // two pieces
  ColumnWalk walk(3, ledger_, Category::kOptimizer);
  const auto visit = [&](ColumnWalk::Use use, const ColumnWalk::Visitor& visitor) {
    const ColumnWalk::Table table{{&column, use}};
    walk.visit({&table, 1}, visitor);
  };
  visit(ColumnWalk::Use::kOverwrite,
        [](const ColumnWalk::Chunk& chunk) { std::ranges::fill(chunk.columns[0].floats(), 7.0F); });
  const int descriptor = test::scratch_descriptors(::testing::TempDir()).at(0);
  const int flags = ::fcntl(descriptor, F_GETFL);
  ::fcntl(descriptor, F_SETFL, flags & ~O_DIRECT);
  ASSERT_EQ(::pwrite(descriptor, "x", 1, kPage + 3), 1);
  ::fcntl(descriptor, F_SETFL, flags);
  size_t seen = 0;
  try {
    visit(ColumnWalk::Use::kRead, [&](const ColumnWalk::Chunk&) { ++seen; });
    FAIL() << "damage was not seen";
  } catch (const Error& error) {
    EXPECT_THAT(error.line(), AllOf(HasSubstr("4 bytes at offset 4096 came back other"),
                                    HasSubstr(::testing::TempDir())));
  }
  EXPECT_EQ(seen, 1u);
  float value = 0;
  EXPECT_THROW(column.read(1024, std::as_writable_bytes(std::span(&value, 1))), Error);
  walk.let_go();
  EXPECT_EQ(ledger_.bytes(Category::kOptimizer), 0u);
}

TEST_F(FileTierTest, TakesItsLastWriteBack) {
  auto twice = options();
  twice.keep_previous = true;
  FileTier tier(twice, ledger_, Category::kOptimizer);
  const auto column = Column::in_file(2500, DType::kF32, tier);
  EXPECT_EQ(tier.bytes(), 2 * 3 * kPage);
  ColumnWalk walk(3, ledger_, Category::kOptimizer);
  const ColumnWalk::Table table{{&column, ColumnWalk::Use::kUpdate}};
  const auto add = [&](float what) {
    walk.visit({&table, 1}, [&](const ColumnWalk::Chunk& chunk) {
      for (float& value : chunk.columns[0].floats()) value += what;
    });
  };
  const auto value = [&] {
    std::vector<float> all(column.count());
    column.read(0, std::as_writable_bytes(std::span(all)));
    EXPECT_EQ(std::ranges::count(all, all[0]), 2500);
    return all[0];
  };
  add(1);
  column.take_back();
  EXPECT_EQ(value(), 0) << "before it was ever written";
  add(2);
  add(4);
  EXPECT_EQ(value(), 6);
  column.take_back();
  EXPECT_EQ(value(), 2);
  add(8);
  EXPECT_EQ(value(), 10);
}

TEST_F(FileTierTest, PeersReadEachOthersPieces) {
  test::run_ranks(3, [&](const comm::Communicator& group) {
    Ledger ledger;
    FileTier tier(options(), ledger, Category::kParameters);
    tier.open_peers(group);
    const size_t count = 2500;
    const int next = (group.rank() + 1) % 3;
    const auto own = Column::in_file(count, DType::kF32, tier);
    const auto peers = Column::of_peer(next, count, DType::kF32, tier);
    ColumnWalk walk(3, ledger, Category::kParameters);
    const ColumnWalk::Table write{{&own, ColumnWalk::Use::kOverwrite}};
    walk.visit({&write, 1}, [&](const ColumnWalk::Chunk& chunk) {
      std::ranges::fill(chunk.columns[0].floats(), static_cast<float>(group.rank()));
    });
    const size_t bytes = own.pieces() * sizeof(FileTier::Stamp);
    const comm::Window stamps = group.window(bytes, "stamps");
    own.write_stamps({reinterpret_cast<FileTier::Stamp*>(stamps.local()), own.pieces()});
    stamps.publish(1);
    std::vector<FileTier::Stamp> theirs(own.pieces());
    stamps.read(next, 1, 0, std::as_writable_bytes(std::span(theirs)), {});
    peers.expect(theirs);
    size_t seen = 0;
    const ColumnWalk::Table read{{&peers, ColumnWalk::Use::kRead}};
    walk.visit({&read, 1}, [&](const ColumnWalk::Chunk& chunk) {
      for (const float value : chunk.columns[0].floats()) seen += value == static_cast<float>(next);
    });
    EXPECT_EQ(seen, count);
    group.barrier();
  });
}

TEST_F(FileTierTest, AFullDiskShowsWhenAPieceIsAdded) {
  FileTier tier(options(), ledger_, Category::kOptimizer);
  try {
    tier.add(size_t{1} << 60);
    FAIL() << "an exbibyte was reserved";
  } catch (const Error& error) {
    EXPECT_THAT(error.line(), HasSubstr("cannot reserve"));
  }
}

// A walk that fails gives its buffers back and takes no descriptor with it; the next one fails
// alike.
TEST_F(FileTierTest, AWalkOverAFailingDiskIsAnErrorThatLeavesNothing) {
  using test::Fault;
  for (const auto& [fault, use, words] :
       {std::tuple{Fault::kDevice, ColumnWalk::Use::kRead, "Input/output error"},
        {Fault::kDevice, ColumnWalk::Use::kOverwrite, "Input/output error"},
        {Fault::kTruncated, ColumnWalk::Use::kUpdate, "the file ends at 0"},
        {Fault::kGarbage, ColumnWalk::Use::kRead, "came back other than they were written"},
        {Fault::kGarbage, ColumnWalk::Use::kOverwrite, "No space left on device"},
        {Fault::kNoGrowth, ColumnWalk::Use::kUpdate, "File too large"}}) {
    const auto before = test::open_descriptors();
    {
      FileTier tier(options(), ledger_, Category::kOptimizer);
      const auto column = Column::in_file(9 * 1024 + 17, DType::kF32, tier);
      ColumnWalk walk(3, ledger_, Category::kOptimizer);
      const auto visit = [&](ColumnWalk::Use how) {
        const ColumnWalk::Table table{{&column, how}};
        walk.visit({&table, 1}, [](const ColumnWalk::Chunk& chunk) {
          std::ranges::fill(chunk.columns[0].floats(), 7.0F);
        });
      };
      visit(ColumnWalk::Use::kOverwrite);
      const test::BrokenFile broken(test::scratch_descriptors(::testing::TempDir()).at(0), fault);
      for (int i = 0; i < 2; ++i) try {
          visit(use);
          FAIL() << "went on, expected: " << words;
        } catch (const Error& error) {
          EXPECT_THAT(error.line(), AllOf(HasSubstr(words), HasSubstr(::testing::TempDir())));
        }
      walk.let_go();
      EXPECT_EQ(ledger_.bytes(Category::kOptimizer), 0u) << words;
    }
    EXPECT_EQ(test::open_descriptors(), before) << words;
  }
}

TEST_F(FileTierTest, TenThousandWalksKeepNoDescriptor) {
  FileTier tier(options(), ledger_, Category::kOptimizer);
  const auto column = Column::in_file(1, DType::kF32, tier);
  ColumnWalk walk(3, ledger_, Category::kOptimizer);
  const ColumnWalk::Table table{{&column, ColumnWalk::Use::kUpdate}};
  const auto before = test::open_descriptors();
  for (int i = 0; i < 10000; ++i)
    walk.visit({&table, 1}, [](const ColumnWalk::Chunk& chunk) { ++chunk.columns[0].floats()[0]; });
  EXPECT_EQ(test::open_descriptors(), before);
  float value = 0;
  column.read(0, std::as_writable_bytes(std::span(&value, 1)));
  EXPECT_EQ(value, 10000);
}

TEST_F(FileTierTest, NeedsAFolder) {
  EXPECT_THROW(FileTier({.folder = "/none/such"}, ledger_, Category::kOptimizer), Error);
  EXPECT_THROW(FileTier(options(2), ledger_, Category::kOptimizer), std::logic_error);
}

}  // namespace
}  // namespace hydrofoil::memory::file_tier_test
