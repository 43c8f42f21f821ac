// SPDX-License-Identifier: Apache-2.0
// How many times as fast one thing is as another, measured in pairs, and how sure that is.
#pragma once

#include <span>
#include <utility>

namespace hydrofoil::monitor {

double median(std::span<const double> values);  // at least one; the mean of the middle two

struct Ratio {
  double ours = 0, theirs = 0;  // medians
  double value = 0;             // theirs / ours
  double low = 0, high = 0;     // 95 % of what `value` is when pairs are drawn anew, by chance
};
// Above 1 where ours takes less. Pairs {ours, theirs}, at least one; the same pairs give the same
// interval.
Ratio ratio_of_medians(std::span<const std::pair<double, double>> seconds);

}  // namespace hydrofoil::monitor
