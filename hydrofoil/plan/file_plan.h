// SPDX-License-Identifier: Apache-2.0
// What one rank keeps in files, and what goes to and from them in one optimizer step: what the
// counters of memory::FileTier must show. P/N elements of b bytes, g micro-batches; every piece of
// a column takes whole blocks of the disk:
//   optimizer    b P/N read and written for each array; twice where norms come first (LAMB)
//   gradients    g b P/N written, (g - 1 + walks) b P/N read
//   parameters   b P/N read and written by the update, N b P/N read for each time a unit is
//   gathered
// The first step reads less: what was never written is known to be zeros.
#pragma once

#include <cstdint>

#include "hydrofoil/monitor/reporter.h"
#include "hydrofoil/plan/model.h"

namespace hydrofoil::plan {

struct FilePlan {
  struct Tier {
    uint64_t kept = 0, read = 0, written = 0;  // bytes; read and written in a step
  };
  Tier optimizer, gradients, parameters;

  uint64_t kept() const { return optimizer.kept + gradients.kept + parameters.kept; }
  uint64_t read() const { return optimizer.read + gradients.read + parameters.read; }
  uint64_t written() const { return optimizer.written + gradients.written + parameters.written; }
  // "optimizer_read", "optimizer_written", ..: those that are not zero.
  monitor::NamedBytes by_operation() const;
};

FilePlan plan_files(const Model& model, const RunShape& run);

// A checkpoint: logical tensors, without padding.
uint64_t checkpoint_bytes(const Model& model, const RunShape& run);
// What all ranks write in all steps of the run, to files of state and to checkpoints.
uint64_t bytes_written(const Model& model, const RunShape& run);

}  // namespace hydrofoil::plan
