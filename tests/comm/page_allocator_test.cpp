// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/shm/page_allocator.h"

#include <gtest/gtest.h>

#include <map>

#include "hydrofoil/core/random.h"

namespace hydrofoil::comm::page_allocator_test {
namespace {

constexpr size_t kPage = PageAllocator::kPage;

TEST(PageAllocator, RangesNeverOverlapAndAllComesBack) {
  constexpr size_t kBegin = 3 * kPage, kEnd = 1000 * kPage;
  PageAllocator pages(kBegin, kEnd);
  const Philox random(1, RandomUse::kTest);
  std::map<size_t, size_t> taken;  // offset to bytes asked for
  for (uint64_t i = 0; i < 20'000; ++i) {
    if (random.below(2, 2 * i) && !taken.empty()) {
      auto victim = std::next(taken.begin(),
                              static_cast<std::ptrdiff_t>(random.below(taken.size(), 2 * i + 1)));
      pages.give_back(victim->first, victim->second);
      taken.erase(victim);
      continue;
    }
    const size_t bytes = random.below(20 * kPage, 2 * i + 1);
    const auto offset = pages.take(bytes);
    if (!offset) continue;
    ASSERT_EQ(*offset % kPage, 0u);
    ASSERT_GE(*offset, kBegin);
    ASSERT_LE(*offset + PageAllocator::round_up(bytes), kEnd);
    const auto [place, fresh] = taken.emplace(*offset, bytes);
    ASSERT_TRUE(fresh);
    if (place != taken.begin()) {
      const auto& [before, size] = *std::prev(place);
      ASSERT_LE(before + PageAllocator::round_up(size), *offset);
    }
    if (const auto next = std::next(place); next != taken.end()) {
      ASSERT_LE(*offset + PageAllocator::round_up(bytes), next->first);
    }
  }
  for (const auto& [offset, bytes] : taken) pages.give_back(offset, bytes);
  EXPECT_EQ(pages.free_bytes(), kEnd - kBegin);
  EXPECT_EQ(pages.take(kEnd - kBegin), kBegin);
}

TEST(PageAllocator, RefusesWhatDoesNotFit) {
  PageAllocator pages(0, 4 * kPage);
  EXPECT_EQ(pages.take(4 * kPage + 1), std::nullopt);
  EXPECT_EQ(pages.take(SIZE_MAX), std::nullopt);
  EXPECT_EQ(pages.take(0), 0u);
}

}  // namespace
}  // namespace hydrofoil::comm::page_allocator_test
