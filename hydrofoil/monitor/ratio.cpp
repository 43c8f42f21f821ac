// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/ratio.h"

#include <algorithm>
#include <cstddef>
#include <random>
#include <vector>

namespace hydrofoil::monitor {
namespace {

using Pair = std::pair<double, double>;

// Without its interval.
Ratio plain_ratio(std::span<const Pair> pairs) {
  std::vector<double> ours, theirs;
  for (const auto& [mine, other] : pairs) ours.push_back(mine), theirs.push_back(other);
  Ratio ratio{.ours = median(ours), .theirs = median(theirs)};
  ratio.value = ratio.theirs / ratio.ours;
  return ratio;
}

}  // namespace

double median(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// The percentile bootstrap (Efron 1979).
Ratio ratio_of_medians(std::span<const Pair> seconds) {
  constexpr size_t kDraws = 2000, kTail = kDraws / 40;
  std::minstd_rand random(1);
  std::vector<double> ratios;
  std::vector<Pair> drawn(seconds.size());
  for (size_t i = 0; i < kDraws; ++i) {
    for (auto& pair : drawn) pair = seconds[random() % seconds.size()];
    ratios.push_back(plain_ratio(drawn).value);
  }
  std::sort(ratios.begin(), ratios.end());
  Ratio ratio = plain_ratio(seconds);
  ratio.low = ratios[kTail], ratio.high = ratios[kDraws - 1 - kTail];
  return ratio;
}

}  // namespace hydrofoil::monitor
