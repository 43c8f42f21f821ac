// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/chosen_columns.h"

#include <cmath>
#include <numeric>

namespace hydrofoil::zero {

size_t columns_of(const memory::TensorInfo& info) {
  return info.shape.size() < 2 ? 0 : static_cast<size_t>(info.shape.back());
}

std::vector<uint32_t> heaviest(std::span<const double> weights, double share) {
  const auto wanted = std::llround(share * static_cast<double>(weights.size()));
  const size_t count = std::min<size_t>(std::max<long long>(wanted, 1), weights.size());
  std::vector<uint32_t> columns(weights.size());
  std::iota(columns.begin(), columns.end(), 0U);
  std::ranges::partial_sort(columns, columns.begin() + static_cast<ptrdiff_t>(count),
                            [&](uint32_t a, uint32_t b) {
                              return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
                            });
  columns.resize(count);
  std::ranges::sort(columns);
  return columns;
}

size_t ChosenPiece::before(size_t of_tensor) const {
  if (columns == 0) return of_tensor;
  const auto in_row = std::ranges::lower_bound(picked, of_tensor % columns) - picked.begin();
  return of_tensor / columns * picked.size() + static_cast<size_t>(in_row);
}

std::vector<ChosenPiece> chosen_pieces(const memory::SegmentLayout& layout, memory::Range own,
                                       const std::vector<std::vector<uint32_t>>& picked) {
  std::vector<ChosenPiece> pieces;
  size_t next = 0;
  for (const auto& piece : layout.pieces(own)) {
    const size_t columns = columns_of(layout.tensors()[piece.tensor]);
    ChosenPiece chosen{.tensor = piece.tensor,
                       .flat = {piece.flat_offset, piece.flat_offset + piece.count},
                       .element = piece.flat_offset - layout.offset(piece.tensor),
                       .columns = columns,
                       .picked = picked[piece.tensor],
                       .begin = next};
    chosen.count = chosen.before(chosen.element + piece.count) - chosen.before(chosen.element);
    next += chosen.count;
    pieces.push_back(std::move(chosen));
  }
  return pieces;
}

}  // namespace hydrofoil::zero
