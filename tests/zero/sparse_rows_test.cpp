// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/sparse_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "hydrofoil/comm/meter.h"
#include "hydrofoil/core/random.h"
#include "tests/support/ranks.h"

namespace hydrofoil::zero::sparse_rows_test {
namespace {

constexpr SparseRows kMatrix{.begin = 64, .rows = 997, .width = 17};
constexpr size_t kCount = 64 + 997 * 17 + 103;
const comm::Label kLabel{comm::Purpose::kGradients, "embedding"};

// `touched` draws of rows, other ones on each rank, between parts that are dense.
std::vector<float> made(int rank, int touched) {
  const Philox random(5, RandomUse::kTest, static_cast<uint64_t>(rank));
  std::vector<float> data(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    const bool inside = i >= kMatrix.begin && i < kMatrix.begin + kMatrix.rows * kMatrix.width;
    if (!inside) data[i] = static_cast<float>(random.uniform(i)) - 0.5F;
  }
  for (int t = 0; t < touched; ++t) {
    const size_t row = random.below(kMatrix.rows, 100'000 + static_cast<uint64_t>(t));
    for (size_t c = 0; c < kMatrix.width; ++c)
      data[kMatrix.begin + row * kMatrix.width + c] +=
          static_cast<float>(random.uniform(200'000 + row * 17 + c) - 0.5);
  }
  return data;
}

size_t rows_of(const std::vector<float>& data) {
  size_t rows = 0;
  for (size_t r = 0; r < kMatrix.rows; ++r) {
    const auto begin = data.begin() + static_cast<ptrdiff_t>(kMatrix.begin + r * kMatrix.width);
    rows += std::any_of(begin, begin + kMatrix.width, [](float v) { return v != 0; });
  }
  return rows;
}

TEST(SparseRows, TheSumHasTheBitsOfAnAllReduceWhateverTravels) {
  for (const int ranks : {1, 2, 3, 4})
    for (const int touched : {0, 1, 97, 5000})
      test::run_ranks(ranks, [&](const comm::Communicator& group) {
        auto sparse = made(group.rank(), touched), dense = sparse;
        for (const auto& work : sum_sparse_rows(group, sparse, kMatrix, kLabel)) work.wait();
        group.all_reduce({dense.data(), dense.size(), DType::kF32}, comm::Reduce::kSum, kLabel);
        EXPECT_EQ(sparse, dense) << touched << " draws on " << ranks << " ranks";
      });
}

TEST(SparseRows, BytesAreThoseOfTheRowsOrOfTheWholeWhicheverAreFewer) {
  for (const int ranks : {2, 3, 4})
    for (const int touched : {0, 1, 97, 5000}) {
      size_t most = 0;
      for (int r = 0; r < ranks; ++r) most = std::max(most, rows_of(made(r, touched)));
      const size_t matrix = 4 * kMatrix.rows * kMatrix.width, n = static_cast<size_t>(ranks);
      const size_t rows = most * (4 + 4 * kMatrix.width);
      const bool sparse = rows * n < 2 * matrix;
      test::run_ranks(ranks, [&](const comm::Communicator& group) {
        auto data = made(group.rank(), touched);
        const auto before = group.meter().snapshot();
        for (const auto& work : sum_sparse_rows(group, data, kMatrix, kLabel)) work.wait();
        const auto used = group.meter().snapshot() - before;
        const auto bytes = [&](comm::Operation operation) {
          return used.of(operation, comm::Purpose::kGradients).bytes;
        };
        EXPECT_EQ(bytes(comm::Operation::kAllGather), sparse ? (n - 1) * rows : 0);
        EXPECT_NEAR(static_cast<double>(bytes(comm::Operation::kAllReduce)),
                    2.0 * static_cast<double>((n - 1) * (4 * kCount - (sparse ? matrix : 0)) / n),
                    8.0 * ranks);
      });
    }
}

}  // namespace
}  // namespace hydrofoil::zero::sparse_rows_test
