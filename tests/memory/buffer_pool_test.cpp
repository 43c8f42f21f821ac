// SPDX-License-Identifier: Apache-2.0
// Released memory is poisoned where builds check invariants, and goes back to the system.
#include "hydrofoil/memory/buffer_pool.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "hydrofoil/memory/parameter_cache.h"
#include "tests/support/ranks.h"

namespace hydrofoil::memory::buffer_pool_test {
namespace {

constexpr size_t kBytes = 1'000'003;

#ifdef HYDROFOIL_DEBUG
constexpr bool kPoisons = true;
#else
constexpr bool kPoisons = false;
#endif

bool is_mapped(const std::byte* page) {
  unsigned char resident = 0;
  return ::mincore(const_cast<std::byte*>(page), 1, &resident) == 0;
}

TEST(BufferPool, AnIdleBufferIsNaNInDebugBuilds) {
  Ledger ledger;
  BufferPool pool(ledger, Category::kParameters);
  BufferPool::Bytes buffer = pool.take(kBytes, 0);
  std::fill_n(buffer.get(), kBytes, std::byte{1});
  const std::byte* stale = buffer.get();
  pool.give_back(std::move(buffer), kBytes);
  if (!kPoisons) GTEST_SKIP() << "a release build";
  EXPECT_TRUE(std::all_of(stale, stale + kBytes, [](std::byte b) { return b == std::byte{0xff}; }));
  EXPECT_TRUE(std::isnan(*reinterpret_cast<const float*>(stale)));
}

TEST(BufferPool, WhatIsTrimmedIsUnmappedAndLeavesTheLedger) {
  Ledger ledger;
  BufferPool pool(ledger, Category::kParameters);
  BufferPool::Bytes first = pool.take(kBytes, 0), second = pool.take(2 * kBytes, 0);
  const std::byte *small = first.get(), *large = second.get();
  pool.give_back(std::move(first), kBytes);
  pool.give_back(std::move(second), 2 * kBytes);
  EXPECT_EQ(pool.idle_bytes(), 3 * kBytes);
  pool.trim(kBytes);
  EXPECT_TRUE(is_mapped(small));
  EXPECT_FALSE(is_mapped(large));
  EXPECT_EQ(ledger.bytes(Category::kParameters), kBytes);
  pool.trim(0);
  EXPECT_FALSE(is_mapped(small));
  EXPECT_EQ(ledger.bytes(Category::kParameters), 0U);
}

// One of a page for a page that is too much, not the largest.
TEST(BufferPool, TrimsNoMoreThanItMust) {
  Ledger ledger;
  BufferPool pool(ledger, Category::kParameters);
  std::vector<BufferPool::Bytes> buffers;
  for (const size_t size : {8, 1, 2}) buffers.push_back(pool.take(size * kBytes, 0));
  for (const size_t size : {2, 1, 8}) {
    pool.give_back(std::move(buffers.back()), size * kBytes);
    buffers.pop_back();
  }
  pool.trim(10 * kBytes);
  EXPECT_EQ(pool.idle_bytes(), 10 * kBytes);
  pool.trim(9 * kBytes);
  EXPECT_EQ(pool.idle_bytes(), 8 * kBytes);
  pool.trim(7 * kBytes);
  EXPECT_EQ(pool.idle_bytes(), 0U);
}

// Stage 3: one unit of 1.0 everywhere, used and then released by an update.
const std::byte* released_copy(ParameterCache& cache) {
  const std::byte* base = cache.begin_edit(0);
  std::fill_n(reinterpret_cast<float*>(const_cast<std::byte*>(base)), 1001, 1.0F);
  cache.finish_edit(0, 0);
  cache.begin_update();
  cache.await_readers(0);
  cache.publish(0);
  cache.end_update();
  return base;
}

TEST(ReleasedParameters, AStaleReadIsNaNAndTheNextUseIsAFreshFetch) {
  test::run_ranks(2, [](const comm::Communicator& group) {
    Ledger ledger;
    ParameterCache cache(group,
                         {.partition_updates = true,
                          .partition_parameters = true,
                          .resident_bytes = size_t{1} << 20},  // the buffer stays in the pool
                         ledger);
    cache.add_unit("unit", {{.layout = {{{"w", {1001}}}, group.size()}}});
    const auto* stale = reinterpret_cast<const float*>(released_copy(cache));
    EXPECT_EQ(cache.resident(0), nullptr);
    if (kPoisons) {
      EXPECT_TRUE(std::isnan(stale[0]) && std::isnan(stale[1000]));
    }
    const auto gathers = cache.statistics().gathers;
    const auto* values = reinterpret_cast<const float*>(cache.pin(0));
    EXPECT_TRUE(std::all_of(values, values + 1001, [](float v) { return v == 1.0F; }));
    EXPECT_EQ(cache.statistics().gathers, gathers + 1);
    cache.unpin(0);
    group.barrier();
  });
}

TEST(ReleasedParameters, BeyondTheBudgetTheirMemoryGoesBackToTheSystem) {
  test::run_ranks(2, [](const comm::Communicator& group) {
    Ledger ledger;
    ParameterCache cache(
        group, {.partition_updates = true, .partition_parameters = true, .resident_bytes = 0},
        ledger);
    cache.add_unit("unit", {{.layout = {{{"w", {100'003}}}, group.size()}}});
    const size_t slices = ledger.bytes(Category::kParameters);
    const std::byte* stale = released_copy(cache);
    EXPECT_EQ(ledger.bytes(Category::kParameters), slices);
    group.barrier();  // nobody maps anything at that address while others look
    EXPECT_FALSE(is_mapped(stale));
    group.barrier();
  });
}

}  // namespace
}  // namespace hydrofoil::memory::buffer_pool_test
