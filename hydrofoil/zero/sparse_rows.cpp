// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/sparse_rows.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "hydrofoil/kernels/fill.h"

namespace hydrofoil::zero {
namespace {

// Numbers of the rows with a bit set.
std::vector<uint32_t> rows_in_use(std::span<const float> matrix, size_t width) {
  std::vector<uint32_t> rows;
  for (size_t row = 0; row * width < matrix.size(); ++row) {
    const auto values = matrix.subspan(row * width, width);
    if (std::ranges::any_of(values, [](float v) { return std::bit_cast<uint32_t>(v) != 0; }))
      rows.push_back(static_cast<uint32_t>(row));
  }
  return rows;
}

// What a rank sends: room for `most` numbers, then for as many rows.
struct Pack {
  size_t most, width;
  size_t bytes() const { return most * (sizeof(uint32_t) + width * sizeof(float)); }
  std::byte* number(std::byte* pack, size_t i) const { return pack + i * sizeof(uint32_t); }
  std::byte* row(std::byte* pack, size_t i) const {
    return number(pack, most) + i * width * sizeof(float);
  }
};

// False: nothing was done, as the whole matrix is fewer bytes.
bool sum_rows(const comm::Communicator& group, std::span<float> matrix, size_t width,
              comm::Label label) {
  const auto ranks = static_cast<size_t>(group.size()), me = static_cast<size_t>(group.rank());
  const auto mine = rows_in_use(matrix, width);
  std::vector<int64_t> counts(ranks);
  counts[me] = static_cast<int64_t>(mine.size());
  group.all_gather({&counts[me], 1, DType::kI64}, {counts.data(), ranks, DType::kI64},
                   {comm::Purpose::kControl, label.name});
  const Pack pack{static_cast<size_t>(*std::ranges::max_element(counts)), width};
  if (pack.bytes() * ranks >= 2 * matrix.size_bytes()) return false;

  std::vector<std::byte> all(ranks * pack.bytes());
  std::byte* own = all.data() + me * pack.bytes();
  for (size_t i = 0; i < mine.size(); ++i) {
    float* row = matrix.data() + mine[i] * width;
    std::memcpy(pack.number(own, i), &mine[i], sizeof mine[i]);
    std::memcpy(pack.row(own, i), row, width * sizeof(float));
    std::fill_n(row, width, 0.0f);
  }
  group.all_gather({own, pack.bytes(), DType::kU8}, {all.data(), all.size(), DType::kU8}, label);
  for (size_t r = 0; r < ranks; ++r)
    for (size_t i = 0; i < static_cast<size_t>(counts[r]); ++i) {
      std::byte* from = all.data() + r * pack.bytes();
      uint32_t number = 0;
      std::memcpy(&number, pack.number(from, i), sizeof number);
      kernels::add(matrix.subspan(number * width, width),
                   {reinterpret_cast<const float*>(pack.row(from, i)), width});
    }
  return true;
}

}  // namespace

std::vector<comm::Work> sum_sparse_rows(const comm::Communicator& group, std::span<float> data,
                                        const SparseRows& matrix, comm::Label label) {
  const size_t count = matrix.rows * matrix.width, end = matrix.begin + count;
  std::vector<std::span<float>> dense{data};
  if (sum_rows(group, data.subspan(matrix.begin, count), matrix.width, label))
    dense = {data.first(matrix.begin), data.subspan(end)};
  std::vector<comm::Work> works;
  for (const auto part : dense)
    if (!part.empty())
      works.push_back(group.all_reduce({part.data(), part.size(), DType::kF32}, comm::Reduce::kSum,
                                       label, comm::Issue::kAsync));
  return works;
}

}  // namespace hydrofoil::zero
