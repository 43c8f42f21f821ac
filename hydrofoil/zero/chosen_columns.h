// SPDX-License-Identifier: Apache-2.0
// Some columns of the matrices, and all vectors, of one rank's range of a segment, side by side.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hydrofoil/memory/segment_layout.h"

namespace hydrofoil::zero {

// Of a tensor's last dimension; 0: it is a vector.
size_t columns_of(const memory::TensorInfo& info);
// The columns that weigh most, ascending: `share` of them, rounded, at least one; of equal weights
// the first ones.
std::vector<uint32_t> heaviest(std::span<const double> weights, double share);

// The chosen elements of the part of one tensor that lies in the range.
struct ChosenPiece {
  size_t tensor = 0;               // index in the segment
  memory::Range flat = {};         // in the segment
  size_t element = 0;              // of flat.begin, in the tensor
  size_t columns = 0;              // 0: a vector, chosen as a whole
  std::vector<uint32_t> picked{};  // columns, ascending
  size_t begin = 0, count = 0;     // among all that are chosen

  // visit(flat, chosen, n): n elements side by side, among those of `range`, in order.
  template <class Visit>
  void visit(memory::Range range, const Visit& visit) const;
  // Chosen elements of the tensor before this one.
  size_t before(size_t of_tensor) const;
};

// Pieces in order, of copies that begin at 0. `picked`: of every tensor, nothing of vectors.
std::vector<ChosenPiece> chosen_pieces(const memory::SegmentLayout& layout, memory::Range own,
                                       const std::vector<std::vector<uint32_t>>& picked);

template <class Visit>
void ChosenPiece::visit(memory::Range range, const Visit& visit) const {
  const size_t from = std::max(range.begin, flat.begin), to = std::min(range.end, flat.end);
  if (from >= to) return;
  const size_t zero = flat.begin - element;  // modulo 2^64 where the tensor begins before
  size_t chosen = begin + before(from - zero) - before(element);
  if (columns == 0) return visit(from, chosen, to - from);
  for (size_t row = (from - zero) / columns * columns; row < to - zero; row += columns) {
    const size_t first = std::max(row, from - zero) - row, end = std::min(to - zero - row, columns);
    for (auto column = std::ranges::lower_bound(picked, first);
         column != picked.end() && *column < end; ++column)
      visit(zero + row + *column, chosen++, size_t{1});
  }
}

}  // namespace hydrofoil::zero
