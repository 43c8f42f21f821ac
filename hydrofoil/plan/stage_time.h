// SPDX-License-Identifier: Apache-2.0
// Seconds of the work that a rank of one stage does in a step, before anybody waits for anybody.
#pragma once

#include <vector>

#include "hydrofoil/plan/links.h"
#include "hydrofoil/plan/model.h"
#include "hydrofoil/plan/rates.h"

namespace hydrofoil::plan {

// Of one rank for one step: forward and backward, and where layers are recomputed their forward
// again.
struct Flops {
  double layers = 0, ends = 0;  // ends: embedding, head and loss
  double total() const { return layers + ends; }
};
Flops flops_per_step(const Model& model, const RunShape& run);
// Of these, a forward's: backward is two, or three.
inline double forward_flops_share(const RunShape& run) {
  return run.recompute ? 1.0 / 4 : 1.0 / 3;
}
// Bytes that the update of a rank reads and writes in memory, checksums of files included.
double update_bytes(const Model& model, const RunShape& run);

// Tasks of a micro-batch, by chunk, with what is exchanged in them; a backward is two forwards.
struct ChunkTime {
  double forward = 0, backward = 0;
  double weights = 0;  // of backward, what a schedule may put off
};
struct StageTime {
  std::vector<ChunkTime> chunks = {};
  double before_update = 0, after_update = 0;  // exchanged once a step
  // In all of the step, messages between stages left out.
  double compute = 0, wire = 0, update = 0;
  double busy() const { return compute + wire + update; }
};
// run.pipeline_stage says which stage it is.
StageTime stage_time(const Model& stage, const RunShape& run, const Machine& machine,
                     const Links& links);
std::vector<StageTime> stage_times(const Model& model, const RunShape& run, const Machine& machine,
                                   const Links& links);

}  // namespace hydrofoil::plan
