// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/tensor_pool.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

#include "hydrofoil/core/align.h"
#include "hydrofoil/core/host.h"

namespace hydrofoil::memory::tensor_pool_test {
namespace {

constexpr int64_t kMiB = 1 << 20;

at::Tensor touched(int64_t bytes) {
  return at::full({bytes}, 1, at::kByte);
}

TEST(TensorPool, AStepFindsThePagesOfTheOneBefore) {
  pool_tensors();
  std::vector<const void*> first, second;
  for (auto* places : {&first, &second}) {
    std::vector<at::Tensor> kept;
    for (const int64_t size : {3 * kMiB + 1, 5 * kMiB, 3 * kMiB + 1}) {
      kept.push_back(touched(size));
      places->push_back(kept.back().const_data_ptr());
    }
  }
  std::ranges::sort(first);
  std::ranges::sort(second);
  EXPECT_EQ(first, second);
}

// Thirty sizes, one after the other: kept for the next of their kind they would be 1.7 GB.
TEST(TensorPool, NoMoreIsMappedThanWasAliveAtOneTime) {
  pool_tensors();
  {
    const auto warm = touched(80 * kMiB);
  }
  const auto before = host::process_memory().rss_bytes;
  for (int64_t size = 40; size < 70; ++size) {
    const auto one = touched(size * kMiB);
    // Which is where the C library's own mappings never begin.
    EXPECT_EQ(reinterpret_cast<uintptr_t>(one.const_data_ptr()) % kPageBytes, 0U) << size;
    EXPECT_LT(host::process_memory().rss_bytes, before + 8 * kMiB) << size;
  }
}

// libtorch's own ways: no elements, resizing, memory without its context, other threads.
TEST(TensorPool, ServesAllOfLibtorch) {
  pool_tensors();
  EXPECT_EQ(at::empty({0}).numel(), 0);
  auto grown = at::full({1000}, 7, at::kFloat);
  grown.resize_({kMiB});
  EXPECT_EQ(grown[999].item<float>(), 7);
  auto* const allocator = c10::GetCPUAllocator();
  for (const size_t bytes : {size_t{100}, size_t{3} << 20})
    allocator->raw_deallocate(allocator->raw_allocate(bytes));
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([thread] {
      for (int64_t i = 0; i < 200; ++i) {
        const auto a = at::full({kMiB / 4 * (i % 7) + 3}, thread, at::kByte), b = a.clone();
        ASSERT_TRUE(b.eq(thread).all().item<bool>());
      }
    });
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace hydrofoil::memory::tensor_pool_test
