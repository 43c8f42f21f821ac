// SPDX-License-Identifier: Apache-2.0
// The pieces in which a loss over a vocabulary is computed, as who computes it and who plans its
// memory see them.
#pragma once

#include <algorithm>
#include <cstdint>

namespace hydrofoil::spec {

// Of `rows` hidden states, how many have logits at one time: at most 32 MiB of fp32, but at least
// 32 rows, fewer of which would starve the matrix products; in chunks of equal size.
inline int64_t loss_rows(int64_t rows, int64_t vocabulary) {
  constexpr int64_t kMostElements = (32 << 20) / 4, kLeastRows = 32;
  const int64_t most = std::max(kLeastRows, kMostElements / vocabulary);
  const int64_t chunks = std::max<int64_t>(1, (rows + most - 1) / most);
  return (rows + chunks - 1) / chunks;
}

// Rows of the head's matrix, `width` wide, whose gradient is made at one time: 4 MiB of fp32 stay
// in the cache until they are added.
inline int64_t head_gradient_rows(int64_t width) {
  constexpr int64_t kMostElements = (4 << 20) / 4;
  return std::max<int64_t>(1, kMostElements / width);
}

}  // namespace hydrofoil::spec
