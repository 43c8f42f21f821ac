// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/host.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace hydrofoil::host::host_test {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

Memory memory_with_limit(uint64_t available_bytes, uint64_t limit_bytes, uint64_t used_bytes) {
  Memory memory;
  memory.available_bytes = available_bytes;
  memory.cgroup_limit_bytes = limit_bytes;
  memory.cgroup_used_bytes = used_bytes;
  return memory;
}

TEST(Host, UsableMemoryIsTheSmallerOfAvailableAndWhatTheLimitLeaves) {
  Memory unlimited;
  unlimited.available_bytes = 60;
  EXPECT_EQ(unlimited.usable_bytes(), 60u);
  EXPECT_EQ(memory_with_limit(60, 50, 20).usable_bytes(), 30u);
  EXPECT_EQ(memory_with_limit(60, 90, 20).usable_bytes(), 60u);
}

TEST(Host, UsableMemoryIsZeroAndNotHugeWhenTheLimitIsOverrun) {
  EXPECT_EQ(memory_with_limit(60, 10, 11).usable_bytes(), 0u);
}

TEST(Host, MemoryAgreesWithTheKernel) {
  const Memory now = memory();
  const auto pages = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES));
  const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  EXPECT_EQ(now.total_bytes, pages * page_bytes);
  EXPECT_GT(now.available_bytes, 0u);
  EXPECT_LE(now.available_bytes, now.total_bytes);
  EXPECT_LE(now.usable_bytes(), now.available_bytes);
}

TEST(Host, CoresFollowTheAffinityOfTheProcess) {
  const int all = usable_cores();
  EXPECT_GE(all, 1);
  EXPECT_LE(all, static_cast<int>(std::thread::hardware_concurrency()));
  int narrowed = 0;
  std::thread([&] {  // affinity belongs to the thread: it ends with it
    cpu_set_t before, one;
    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof before, &before);
    int core = 0;
    while (!CPU_ISSET(core, &before)) ++core;
    CPU_SET(core, &one);
    sched_setaffinity(0, sizeof one, &one);
    narrowed = usable_cores();
  })
      .join();
  EXPECT_EQ(narrowed, 1);
}

TEST(Host, ProcessMemoryGrowsWithWhatIsTouched) {
  const ProcessMemory before = process_memory();
  std::vector<char> block(64 * kMiB, 1);
  const ProcessMemory after = process_memory();
  ASSERT_EQ(block[97], 1);
  EXPECT_GE(after.rss_bytes, before.rss_bytes + 60 * kMiB);
  EXPECT_GE(after.pss_bytes, before.pss_bytes + 60 * kMiB);
  EXPECT_LE(after.pss_bytes, after.rss_bytes + kMiB);
  EXPECT_GE(after.peak_rss_bytes, after.rss_bytes - std::min(after.rss_bytes, kMiB));
}

TEST(Host, NamesTheProcessor) {
  EXPECT_FALSE(cpu_model().empty());
}

}  // namespace
}  // namespace hydrofoil::host::host_test
