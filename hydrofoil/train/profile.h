// SPDX-License-Identifier: Apache-2.0
// Where the arithmetic and the time of a step went, unit by unit (DeepSpeed's flops_profiler).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/monitor/trace_file.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::train {

// Of one unit. Three times the sum over all units is spec::flops_per_token.
struct UnitCost {
  std::string name;
  int64_t parameters = 0;
  double forward_flops = 0;  // of one token: multiply-adds x 2 of matrix products and attention
};
std::vector<UnitCost> unit_costs(const spec::ModelSpec& spec, int64_t sequence_length);

struct ProfiledStep {
  int64_t step = 0, tokens = 0;        // of this rank
  double seconds = 0, peak_flops = 0;  // of the step; a second: of this rank
  bool units = true;                   // a line for every unit
};
// Lines. A unit's flops are forward + backward (twice forward) + recomputation where it was
// recomputed; the MFU counts no recomputation.
std::string profile_table(std::span<const UnitCost> units, const ProfiledStep& step,
                          std::span<const monitor::TraceEvent> events);

// What matrix products reach here, now: flops a second of this process with its threads. 0.1 s.
double measured_peak_flops();

}  // namespace hydrofoil::train
