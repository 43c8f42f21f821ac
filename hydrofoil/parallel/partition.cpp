// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/partition.h"

#include <algorithm>
#include <limits>

namespace hydrofoil::parallel {

Cuts cut_uniformly(size_t items, size_t parts) {
  Cuts cuts = {0};
  for (size_t part = 0; part < parts; ++part)
    cuts.push_back(cuts.back() + items / parts + (part < items % parts));
  return cuts;
}

Cuts cut_evenly(std::span<const double> weights, size_t parts) {
  const size_t items = weights.size();
  if (items <= parts) return cut_uniformly(items, parts);
  std::vector<double> sum_before = {0};
  for (const double weight : weights) sum_before.push_back(sum_before.back() + weight);

  // The best way found to cut the first `end` items into so many parts.
  struct Best {
    double heaviest = 0, lightest = std::numeric_limits<double>::infinity();
    double cost = std::numeric_limits<double>::infinity();
    size_t last_begin = 0;
  };
  std::vector<std::vector<Best>> best(parts + 1, std::vector<Best>(items + 1));
  best[0][0].cost = 0;
  for (size_t part = 1; part <= parts; ++part) {
    for (size_t end = part; end <= items; ++end) {
      Best& here = best[part][end];
      for (size_t begin = part - 1; begin < end; ++begin) {
        const Best& before = best[part - 1][begin];
        if (before.cost == std::numeric_limits<double>::infinity()) continue;
        const double weight = sum_before[end] - sum_before[begin];
        const double heaviest = std::max(before.heaviest, weight);
        const double lightest = std::min(before.lightest, weight);
        if (heaviest - lightest <= here.cost)
          here = {heaviest, lightest, heaviest - lightest, begin};
      }
    }
  }
  Cuts cuts(parts + 1, items);
  for (size_t part = parts; part > 0; --part) cuts[part - 1] = best[part][cuts[part]].last_begin;
  return cuts;
}

}  // namespace hydrofoil::parallel
