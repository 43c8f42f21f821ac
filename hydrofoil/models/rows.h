// SPDX-License-Identifier: Apache-2.0
// A vocabulary's matrix [V, H]: one tensor, or tiles of rows that are parameters of their own, so
// that neither looking up nor the loss, nor their gradients, need it as a whole.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace hydrofoil::models {

struct Rows {
  Rows() = default;
  Rows(at::Tensor whole) : tiles{std::move(whole)} {}  // implicit: the usual case
  std::vector<at::Tensor> tiles;                       // [v, H] each

  bool is_whole() const { return tiles.size() == 1; }
  const at::Tensor& whole() const { return tiles.front(); }
  int64_t count() const {  // V
    int64_t rows = 0;
    for (const auto& tile : tiles) rows += tile.size(0);
    return rows;
  }
  // visit(tile, its first row).
  template <class Visit>
  void for_each(const Visit& visit) const {
    int64_t first = 0;
    for (const auto& tile : tiles) visit(tile, std::exchange(first, first + tile.size(0)));
  }
};

}  // namespace hydrofoil::models
