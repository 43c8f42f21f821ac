// SPDX-License-Identifier: Apache-2.0
// Arrays in memory and arrays in a file must be the same to whoever visits them.
#include "hydrofoil/zero/state_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace hydrofoil::zero::state_store_test {
namespace {

using Use = StateStore::Use;

StateFiles files() {
  return {.tier = {.folder = ::testing::TempDir(),
                   .io = {.block_bytes = 4096, .queue_depth = 2},
                   .chunk_elements = 1024}};
}

TEST(StateStore, FilesHoldWhatMemoryHolds) {
  memory::Ledger ledger;
  StateStore store(files(), ledger);
  const size_t counts[] = {1, 1023, 1024, 1025, 5000};
  std::vector<StateStore::Id> here, there, mixed;
  for (const size_t count : counts) {
    here.push_back(store.add(count, {DType::kF32, DType::kBF16}, false));
    there.push_back(store.add(count, {DType::kF32, DType::kBF16}, true));
    mixed.insert(mixed.end(), {here.back(), there.back()});
  }
  for (int round = 0; round < 3; ++round)
    for (const auto& ids : {here, there}) {
      std::vector<size_t> seen(ids.size());
      store.visit(ids, Use::kUpdate, [&](const StateStore::Chunk& chunk) {
        ASSERT_EQ(chunk.arrays.size(), 2u);
        for (size_t i = 0; i < chunk.range.size(); ++i) {
          const auto element = static_cast<float>(chunk.range.begin + i);
          chunk.arrays[0].floats()[i] += element;
          reinterpret_cast<uint16_t*>(chunk.arrays[1].data)[i] += static_cast<uint16_t>(element);
        }
        seen[static_cast<size_t>(std::ranges::find(ids, chunk.id) - ids.begin())] +=
            chunk.range.size();
      });
      EXPECT_TRUE(std::ranges::equal(seen, counts)) << "every element once";
    }
  for (size_t c = 0; c < here.size(); ++c)
    for (const size_t array : {0u, 1u}) {
      const auto &in_memory = store.arrays(here[c])[array],
                 &in_file = store.arrays(there[c])[array];
      const size_t width = size_of(in_memory.dtype());
      const size_t begin = counts[c] / 3;
      std::vector<std::byte> from_memory((counts[c] - begin) * width), from_file = from_memory;
      in_memory.read(begin, from_memory);
      in_file.read(begin, from_file);
      EXPECT_EQ(from_memory, from_file);
      EXPECT_FALSE(in_memory.values().empty());
      EXPECT_TRUE(in_file.values().empty());
    }
  std::vector<StateStore::Id> order;
  store.visit(mixed, Use::kRead, [&](const StateStore::Chunk& chunk) {
    if (order.empty() || order.back() != chunk.id) order.push_back(chunk.id);
  });
  EXPECT_EQ(order, mixed);
}

TEST(StateStore, TheLedgerCountsMemoryOnly) {
  memory::Ledger ledger;
  {
    StateStore store(files(), ledger);
    store.add(100000, {DType::kF32}, true);
    EXPECT_EQ(ledger.bytes(memory::Category::kOptimizer), 0u);
    store.add(1000, {DType::kF32, DType::kF16}, false);
    EXPECT_EQ(ledger.bytes(memory::Category::kOptimizer), 6000u);
  }
  EXPECT_EQ(ledger.bytes(memory::Category::kOptimizer), 0u);
}

}  // namespace
}  // namespace hydrofoil::zero::state_store_test
