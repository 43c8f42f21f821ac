// SPDX-License-Identifier: Apache-2.0
// Seconds of a step by cause, from measured rates. Nothing is assumed to overlap: an upper bound,
// and the largest cause is what to look at first.
#pragma once

#include <optional>
#include <string>

#include "hydrofoil/plan/model.h"

namespace hydrofoil::plan {

// Of one rank while all ranks of its host are busy. 0: not known, its cause is left out.
struct Machine {
  double flops_per_second = 0;         // matrix products
  double wire_bytes_per_second = 0;    // received
  double memory_bytes_per_second = 0;  // read and written, for the update
};

struct TimePlan {
  double compute_seconds = 0, wire_seconds = 0, update_seconds = 0;
  double total_seconds() const { return compute_seconds + wire_seconds + update_seconds; }
  std::string bottleneck() const;  // "compute", "wire", "update"; empty: nothing known
  double tokens_per_second = 0;    // of all ranks; 0: not known
};

// Of one rank for one step: forward and backward, and where layers are recomputed their forward
// again.
double flops_per_step(const Model& model, const RunShape& run);

TimePlan plan_time(const Model& model, const RunShape& run, const Machine& machine);

}  // namespace hydrofoil::plan
