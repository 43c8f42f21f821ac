// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/spill.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "hydrofoil/core/align.h"

namespace hydrofoil::memory::spill_test {
namespace {

FileTierOptions options() {
  return {
      .folder = testing::TempDir(), .io = {.block_bytes = 4096, .queue_depth = 2}, .buffers = 3};
}

std::vector<std::byte> bytes_of(size_t index, size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(index * 31 + i * 7);
  return bytes;
}

void expect_block(Spill& spill, Spill::Block block, size_t index, size_t size) {
  std::vector<std::byte> out(size);
  spill.pop(block, out);
  EXPECT_EQ(out, bytes_of(index, size)) << index;
}

TEST(Spill, GivesBlocksBackInAnyOrder) {
  constexpr size_t kSizes[] = {1, 4096, 5003, 97};
  Ledger ledger;
  Spill spill(options(), ledger);
  for (const bool reverse : {true, false}) {
    std::vector<Spill::Block> blocks;
    for (size_t i = 0; i < 17; ++i) blocks.push_back(spill.push(bytes_of(i, kSizes[i % 4])));
    for (size_t i = 0; i < 17; ++i) {
      const size_t index = reverse ? 16 - i : (i * 5) % 17;
      expect_block(spill, blocks[index], index, kSizes[index % 4]);
    }
  }
}

// Seven buffers' worth, three of them in memory; the newest three are not read back.
TEST(Spill, MemoryHoldsItsBuffersAndAReversePassReadsTheRestOnce) {
  constexpr size_t kSize = 9001;
  Ledger ledger;
  Spill spill(options(), ledger);
  const size_t padded = round_up(kSize, size_t{4096});
  for (int pass = 0; pass < 3; ++pass) {
    std::vector<Spill::Block> blocks;
    for (size_t i = 0; i < 7; ++i) blocks.push_back(spill.push(bytes_of(i, kSize)));
    for (size_t i = 7; i-- > 0;) expect_block(spill, blocks[i], i, kSize);
    EXPECT_EQ(ledger.bytes(Category::kActivations), 0u);
  }
  EXPECT_EQ(ledger.peak_bytes(Category::kActivations), 3 * padded);
  EXPECT_EQ(spill.counters().written_bytes, 3 * 7 * padded);
  EXPECT_EQ(spill.counters().read_bytes, 3 * 4 * padded);
}

TEST(Spill, WhatIsDroppedLeavesItsRoom) {
  Ledger ledger;
  Spill spill(options(), ledger);
  for (int pass = 0; pass < 3; ++pass) {
    std::vector<Spill::Block> blocks;
    for (size_t i = 0; i < 5; ++i) blocks.push_back(spill.push(bytes_of(i, 4096)));
    spill.drop(blocks[4]), spill.drop(blocks[1]);
    expect_block(spill, blocks[3], 3, 4096);
    expect_block(spill, blocks[2], 2, 4096);
    spill.drop(blocks[0]);
  }
  EXPECT_EQ(ledger.bytes(Category::kActivations), 0u);
  EXPECT_EQ(spill.file_bytes(), 5u * 4096);
}

TEST(Spill, ABlockIsAskedForOnce) {
  Ledger ledger;
  Spill spill(options(), ledger);
  const auto block = spill.push(bytes_of(0, 100));
  expect_block(spill, block, 0, 100);
  std::vector<std::byte> out(100);
  EXPECT_THROW(spill.pop(block, out), std::logic_error);
}

}  // namespace
}  // namespace hydrofoil::memory::spill_test
