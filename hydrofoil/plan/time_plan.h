// SPDX-License-Identifier: Apache-2.0
// Seconds of a step by cause, from measured rates.
//
// What overlaps is what the run lets overlap, and a phase takes as long as its slowest part:
//   forward    beside the update of the step before, where state lies in files: compute and the
//              update's arithmetic share the processor; its reads and writes, and parameters on
//              their way in, go on meanwhile
//   backward   beside gradients on their way to files and parameters on their way in
// The wire is assumed to hide behind nothing, but for messages between stages: an upper bound.
#pragma once

#include <string>

#include "hydrofoil/plan/model.h"
#include "hydrofoil/plan/rates.h"

namespace hydrofoil::plan {

struct TimePlan {
  double compute_seconds = 0, wire_seconds = 0, update_seconds = 0;
  double bubble_seconds = 0;      // that the stages of a pipeline wait for each other
  double disk_seconds = 0;        // reads and writes of files, alone
  double waiting_seconds = 0;     // of them, what hides behind nothing
  double disk_bound_seconds = 0;  // of the step: phases that the disk decides
  double total_seconds() const {
    return compute_seconds + bubble_seconds + wire_seconds + update_seconds + waiting_seconds;
  }
  // "compute", "wire", "update", "disk"; empty: nothing known.
  std::string bottleneck() const;
  double tokens_per_second = 0;  // of all ranks; 0: not known
};

// Of all stages' time, that in which they wait, where a backward is two forwards and stages are
// equal.
double bubble(const RunShape& run);

// Of a model with all blocks. Of a pipeline: the causes are those of the stage with most to do;
// what it waits is what a simulated step takes longer (simulator.h).
TimePlan plan_time(const Model& model, const RunShape& run, const Machine& machine);

}  // namespace hydrofoil::plan
