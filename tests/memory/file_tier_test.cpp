// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/file_tier.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"

namespace hydrofoil::memory {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Use = FileTier::Use;

constexpr size_t kPage = io::kDirectAlign;

class FileTierTest : public ::testing::Test {
 protected:
  FileTierOptions options(size_t buffers = 4) const {
    return {.folder = ::testing::TempDir(),
            .io = {.block_bytes = kPage, .queue_depth = 3},
            .buffers = buffers};
  }
  Ledger ledger_;
};

using Parts = std::span<const FileTier::Part>;

std::span<uint64_t> words(FileTier::Part part) {
  return {reinterpret_cast<uint64_t*>(part.data()), part.size() / sizeof(uint64_t)};
}

FileTier::Piece add(FileTier& tier, std::vector<size_t> part_bytes) {
  return tier.add(part_bytes);
}

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

TEST_F(FileTierTest, EveryPieceIsWhatTheLastVisitLeft) {
  for (const size_t buffers : {3u, 4u, 9u})
    for (const size_t count : {1u, 2u, 3u, 7u}) {
      FileTier tier(options(buffers), ledger_, Category::kOptimizer);
      std::vector<FileTier::Piece> pieces;
      for (size_t i = 0; i < count; ++i) pieces.push_back(add(tier, {8 + i * kPage, 40}));
      for (uint64_t round = 0; round < 4; ++round) {
        std::ranges::rotate(pieces, pieces.begin() + 1);  // any order
        tier.visit(pieces, Use::kUpdate, [&](size_t i, Parts parts) {
          ASSERT_EQ(parts.size(), 2u);
          EXPECT_EQ(parts[0].size(), 8 + pieces[i] * kPage);
          EXPECT_EQ(parts[1].size(), 40u);
          for (const auto& part : parts)
            for (auto& word : words(part)) {
              ASSERT_EQ(word, round == 0 ? 0 : pieces[i] * 100 + round - 1);  // zeros at first
              word = pieces[i] * 100 + round;
            }
        });
      }
      size_t seen = 0;
      tier.visit(pieces, Use::kRead, [&](size_t i, Parts parts) {
        EXPECT_EQ(words(parts[1]).back(), pieces[i] * 100 + 3);
        words(parts[1]).back() = 0;  // of no effect
        ++seen;
      });
      EXPECT_EQ(seen, count);
      for (const auto piece : pieces) {
        uint64_t word = 0;
        tier.read(piece, 1, 32, std::as_writable_bytes(std::span(&word, 1)));
        EXPECT_EQ(word, piece * 100 + 3);
      }
    }
}

TEST_F(FileTierTest, MemoryHoldsTheBuffersOnly) {
  FileTier tier(options(3), ledger_, Category::kOptimizer);
  std::vector<FileTier::Piece> pieces(50);
  for (auto& piece : pieces) piece = add(tier, {kPage, kPage});
  EXPECT_EQ(tier.bytes(), 100 * kPage);
  for (int round = 0; round < 2; ++round)
    tier.visit(pieces, Use::kUpdate, [&](size_t, Parts) {
      EXPECT_LE(ledger_.bytes(Category::kOptimizer), 3 * 2 * kPage);
    });
  EXPECT_EQ(ledger_.bytes(Category::kOptimizer), 0u);
  EXPECT_EQ(tier.counters().written_bytes, 2 * 100 * kPage);
  EXPECT_EQ(tier.counters().read_bytes, 100 * kPage) << "what was never written is not read";
}

TEST_F(FileTierTest, OtherBytesThanWereWrittenAreAnError) {
  FileTier tier(options(), ledger_, Category::kOptimizer);
  const std::vector<FileTier::Piece> pieces = {add(tier, {kPage}), add(tier, {kPage})};
  const auto fill = [](size_t, Parts parts) {
    std::iota(words(parts[0]).begin(), words(parts[0]).end(), 7);
  };
  tier.visit(pieces, Use::kUpdate, fill);
  const int descriptor = scratch_descriptor();
  ASSERT_GE(descriptor, 0);
  const int flags = ::fcntl(descriptor, F_GETFL);
  ::fcntl(descriptor, F_SETFL, flags & ~O_DIRECT);
  ASSERT_EQ(::pwrite(descriptor, "x", 1, kPage + 99), 1);
  ::fcntl(descriptor, F_SETFL, flags);
  size_t seen = 0;
  try {
    tier.visit(pieces, Use::kRead, [&](size_t, Parts) { ++seen; });
    FAIL() << "damage was not seen";
  } catch (const Error& error) {
    EXPECT_THAT(error.line(), AllOf(HasSubstr("4096 bytes at offset 4096 came back other"),
                                    HasSubstr(::testing::TempDir())));
  }
  EXPECT_EQ(seen, 1u);
  EXPECT_EQ(ledger_.bytes(Category::kOptimizer), 0u);
}

TEST_F(FileTierTest, AVisitorThatThrowsLeavesTheTierUsable) {
  FileTier tier(options(), ledger_, Category::kOptimizer);
  std::vector<FileTier::Piece> pieces(9);
  for (auto& piece : pieces) piece = add(tier, {3 * kPage});
  const auto write = [&](uint64_t value, size_t stop) {
    tier.visit(pieces, Use::kUpdate, [&](size_t i, Parts parts) {
      if (i == stop) throw std::runtime_error("stop");
      words(parts[0]).front() = value;
    });
  };
  write(1, 9);
  EXPECT_THROW(write(2, 5), std::runtime_error);
  tier.visit(pieces, Use::kRead,
             [&](size_t i, Parts parts) { EXPECT_EQ(words(parts[0]).front(), i < 5 ? 2u : 1u); });
}

TEST_F(FileTierTest, AFullDiskShowsWhenAPieceIsAdded) {
  FileTier tier(options(), ledger_, Category::kOptimizer);
  try {
    add(tier, {size_t{1} << 60});
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
