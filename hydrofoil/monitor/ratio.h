// SPDX-License-Identifier: Apache-2.0
// How many times as fast one thing is as another, measured in pairs, and how sure that is.
#pragma once

#include <span>
#include <utility>

namespace hydrofoil::monitor {

double median(std::span<const double> values);  // at least one; the mean of the middle two

struct Ratio {
  double value = 0;          // of the medians
  double low = 0, high = 0;  // 95 % of what the ratio is when pairs are drawn anew, by chance
};
// Of theirs to ours: above 1 where ours takes less. Pairs {ours, theirs}, at least one; the same
// pairs give the same interval.
Ratio ratio_of_medians(std::span<const std::pair<double, double>> seconds);

}  // namespace hydrofoil::monitor
