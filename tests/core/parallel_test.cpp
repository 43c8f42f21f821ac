// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace hydrofoil::parallel_test {
namespace {

using Ranges = std::vector<std::pair<size_t, size_t>>;

Ranges ranges_of(size_t n, size_t grain, int threads) {
  set_compute_threads(threads);
  Ranges ranges;
  std::mutex mutex;
  parallel_for(n, grain, [&](size_t begin, size_t end) {
    const std::lock_guard lock(mutex);
    ranges.emplace_back(begin, end);
  });
  std::sort(ranges.begin(), ranges.end());
  return ranges;
}

TEST(ParallelFor, CoversEveryIndexOnceAndCutsAtMultiplesOfTheGrain) {
  for (const size_t n : {1, 17, 97, 1000003})
    for (const size_t grain : {1, 16, 256, 4096})
      for (const int threads : {1, 2, 3, 4}) {
        size_t reached = 0;
        for (const auto& [begin, end] : ranges_of(n, grain, threads)) {
          ASSERT_EQ(begin, reached) << n << " " << grain << " " << threads;
          ASSERT_EQ(begin % grain, 0u);
          ASSERT_LT(begin, end);
          reached = end;
        }
        ASSERT_EQ(reached, n);
      }
}

TEST(ParallelFor, NothingToDoCallsNothing) {
  EXPECT_TRUE(ranges_of(0, 16, 4).empty());
}

TEST(ParallelFor, SmallWorkStaysInTheCallersThread) {
  set_compute_threads(4);
  std::thread::id ran;
  parallel_for(256, 256, [&](size_t, size_t) { ran = std::this_thread::get_id(); });
  EXPECT_EQ(ran, std::this_thread::get_id());
}

TEST(ParallelFor, AnExceptionOfAnyPieceReachesTheCaller) {
  for (const int threads : {1, 4}) {
    set_compute_threads(threads);
    EXPECT_THROW(parallel_for(1000, 1,
                              [](size_t, size_t end) {
                                if (end == 1000) throw std::runtime_error("the last piece");
                              }),
                 std::runtime_error);
  }
}

TEST(ParallelFor, EachCallingThreadHasItsOwnNumberOfThreads) {
  set_compute_threads(3);
  const int mine = compute_threads();
  std::thread([] { set_compute_threads(1); }).join();
  EXPECT_EQ(compute_threads(), mine);
}

}  // namespace
}  // namespace hydrofoil::parallel_test
