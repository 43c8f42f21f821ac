// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/file_tier.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/memory/column.h"
#include "tests/support/ranks.h"

namespace hydrofoil::memory {
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

// The descriptor of the one scratch file that is open: what a failing disk would act upon.
int scratch_descriptor() {
  for (int fd = 0; fd < 256; ++fd) {
    std::string target(512, '\0');
    const auto path = "/proc/self/fd/" + std::to_string(fd);
    const auto length = ::readlink(path.c_str(), target.data(), target.size());
    if (length > 0 && target.find("(deleted)") != std::string::npos) return fd;
  }
  return -1;
}

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
  const int descriptor = scratch_descriptor();
  ASSERT_GE(descriptor, 0);
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

TEST_F(FileTierTest, NeedsAFolder) {
  EXPECT_THROW(FileTier({.folder = "/none/such"}, ledger_, Category::kOptimizer), Error);
  EXPECT_THROW(FileTier(options(2), ledger_, Category::kOptimizer), std::logic_error);
}

}  // namespace
}  // namespace hydrofoil::memory
