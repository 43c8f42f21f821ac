// SPDX-License-Identifier: Apache-2.0
// Which blocks a pipeline stage holds: contiguous cuts of a list of weights. Pure numbers.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace hydrofoil::parallel {

// Where each part begins, and after the last one the end: parts + 1 entries, not descending. More
// parts than items leave the last parts empty.
using Cuts = std::vector<size_t>;

// As many items in each, the first parts taking one more where it does not come out even.
Cuts cut_uniformly(size_t items, size_t parts);
// DeepSpeed's rule for `parameters` and `type:`: the heaviest part less the lightest one is small.
// It is found by dynamic programming over prefixes; of equal cuts the later. O(items^2 parts).
// Weights, none negative: parameters, 1 where a name matches a pattern and else 0, measured
// seconds.
Cuts cut_evenly(std::span<const double> weights, size_t parts);

}  // namespace hydrofoil::parallel
