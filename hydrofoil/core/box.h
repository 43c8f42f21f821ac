// SPDX-License-Identifier: Apache-2.0
// Which elements of a logical tensor a rank holds: ranges of one of its dimensions.
//
//   const Box half{.whole = {4096, 11008}, .dim = 1, .slices = {{0, 5504}}};
//   half.for_each_run(0, 4096 * 5504, [&](const Box::Run& run) {  // 4096 of them
//     read(run.logical, values.subspan(run.local, run.count));
//   });
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

namespace hydrofoil {

struct Box {
  struct Slice {
    int64_t begin = 0, count = 0;
    // Held by a rank before this one, too: that one saves it, and counts it in norms.
    bool replica = false;
    friend bool operator==(const Slice&, const Slice&) = default;
  };
  // The shape of the logical tensor; empty: this is all of it, and no other rank's.
  std::vector<int64_t> whole = {};
  size_t dim = 0;
  std::vector<Slice> slices = {};  // of that dimension, ascending

  bool is_all() const { return whole.empty(); }

  // Neighbours in the flattened box and in the flattened logical tensor. Elements.
  struct Run {
    uint64_t local = 0, logical = 0, count = 0;
    bool replica = false;
  };
  // Elements [begin, end) of the flattened box, in order; `logical` ascends, too.
  template <class Visit>
  void for_each_run(uint64_t begin, uint64_t end, const Visit& visit) const {
    if (is_all()) {
      if (begin < end) visit(Run{begin, begin, end - begin});
      return;
    }
    const auto at = [this](size_t i) { return whole.begin() + static_cast<std::ptrdiff_t>(i); };
    const auto product = [](auto from, auto to) {
      return static_cast<uint64_t>(std::accumulate(from, to, int64_t{1}, std::multiplies<>()));
    };
    const uint64_t inner = product(at(dim + 1), whole.end());
    uint64_t row = 0;  // elements of the box for one index of the dimensions before
    for (const Slice& slice : slices) row += static_cast<uint64_t>(slice.count) * inner;
    for (uint64_t outer = row == 0 ? 0 : begin / row; outer * row < end; ++outer) {
      uint64_t local = outer * row;
      for (const Slice& slice : slices) {
        const uint64_t first = std::max(begin, local);
        const uint64_t next = local + static_cast<uint64_t>(slice.count) * inner;
        const uint64_t last = std::min(end, next);
        const uint64_t base =
            (outer * static_cast<uint64_t>(whole[dim]) + static_cast<uint64_t>(slice.begin)) *
            inner;
        if (first < last) visit(Run{first, base + first - local, last - first, slice.replica});
        local = next;
      }
    }
  }

  friend bool operator==(const Box&, const Box&) = default;
};

}  // namespace hydrofoil
