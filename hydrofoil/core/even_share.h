// SPDX-License-Identifier: Apache-2.0
// Items in a row for ranks in a row: as many for each, the first taking one more where it does not
// come out even.
#pragma once

#include <algorithm>
#include <cstdint>

namespace hydrofoil {

struct EvenShare {
  int64_t begin = 0, count = 0;
};

inline EvenShare even_share(int64_t items, int64_t rank, int64_t ranks) {
  const int64_t each = items / ranks, more = items % ranks;
  return {each * rank + std::min(rank, more), each + (rank < more ? 1 : 0)};
}

}  // namespace hydrofoil
