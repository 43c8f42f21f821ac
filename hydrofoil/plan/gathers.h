// SPDX-License-Identifier: Apache-2.0
// How often stage 3 gathers each unit in a step: the rule of memory::ParameterCache (farthest next
// use of the pass leaves first, least recently used among equals) on sizes alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hydrofoil::plan {

struct Gathers {
  std::vector<int64_t> counts;  // by unit, in one step
  uint64_t peak_bytes = 0;      // most that is gathered at one time
};

// The budget is soft: the unit in use is gathered even where it does not fit. A step begins with
// nothing gathered, because the update has changed it all.
Gathers simulate_gathers(std::span<const uint64_t> unit_bytes, std::span<const size_t> uses,
                         int64_t micro_batches, uint64_t budget_bytes);

}  // namespace hydrofoil::plan
