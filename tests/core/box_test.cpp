// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/box.h"

#include <gtest/gtest.h>

namespace hydrofoil::box_test {
namespace {

// By definition: the indices of a box of [3, 7, 2], in the order in which it lies flat.
std::vector<uint64_t> elements(const Box& box) {
  std::vector<uint64_t> result;
  const auto in_slices = [&](size_t dim, auto&& visit) {
    if (dim != box.dim) {
      for (int64_t i = 0; i < box.whole[dim]; ++i) visit(static_cast<uint64_t>(i));
      return;
    }
    for (const auto& slice : box.slices)
      for (int64_t i = slice.begin; i < slice.begin + slice.count; ++i)
        visit(static_cast<uint64_t>(i));
  };
  in_slices(0, [&](uint64_t i) {
    in_slices(1, [&](uint64_t j) {
      in_slices(2, [&](uint64_t k) { result.push_back((i * 7 + j) * 2 + k); });
    });
  });
  return result;
}

TEST(Box, RunsAreItsElementsInOrderWhereverTheyBegin) {
  const std::vector<int64_t> whole{3, 7, 2};
  for (const Box& box : {Box{.whole = whole, .dim = 0, .slices = {{1, 2}}},
                         Box{.whole = whole, .dim = 1, .slices = {{0, 2}, {3, 1}, {5, 2}}},
                         Box{.whole = whole, .dim = 2, .slices = {{1, 1}}},
                         Box{.whole = whole, .dim = 1, .slices = {{2, 0}}}}) {
    const auto want = elements(box);
    for (uint64_t begin = 0; begin <= want.size(); ++begin)
      for (uint64_t end = begin; end <= want.size(); ++end) {
        uint64_t next = begin;
        box.for_each_run(begin, end, [&](const Box::Run& run) {
          EXPECT_EQ(run.local, next);
          for (uint64_t i = 0; i < run.count; ++i) EXPECT_EQ(run.logical + i, want[next++]);
        });
        EXPECT_EQ(next, end);
      }
  }
}

TEST(Box, WholeTensorsAreOneRun) {
  int runs = 0;
  Box{}.for_each_run(5, 97, [&](const Box::Run& run) {
    EXPECT_EQ(run.logical, 5u);
    EXPECT_EQ(run.count, 92u);
    ++runs;
  });
  EXPECT_EQ(runs, 1);
  Box{}.for_each_run(5, 5, [&](const Box::Run&) { ++runs; });
  EXPECT_EQ(runs, 1);
}

TEST(Box, RunsTellReplicas) {
  const Box box{.whole = {4, 3}, .dim = 1, .slices = {{0, 1}, {2, 1, true}}};
  box.for_each_run(0, 8, [](const Box::Run& run) { EXPECT_EQ(run.replica, run.local % 2 == 1); });
}

}  // namespace
}  // namespace hydrofoil::box_test
