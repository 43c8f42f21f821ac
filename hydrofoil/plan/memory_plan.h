// SPDX-License-Identifier: Apache-2.0
// Bytes by category that one rank holds at its peak. Slices are of equal size, so every rank needs
// the same.
#pragma once

#include <cstdint>

#include "hydrofoil/monitor/reporter.h"
#include "hydrofoil/plan/model.h"

namespace hydrofoil::plan {

struct MemoryPlan {
  uint64_t parameters_owned = 0;     // stage 0-2: whole units; stage 3: slices; of files, buffers
  uint64_t parameters_gathered = 0;  // stage 3, or widened: resident copies, within the budget
  uint64_t gradients = 0;  // stage 0-1 whole units; 2-3 slices (of files, buffers), two whole units
  uint64_t optimizer = 0;  // stage 0 whole units, 1-3 slices; of files, the buffers
  uint64_t communication = 0;       // staging of the transport, slices on their way
  uint64_t checkpoint = 0;          // the copy that is saved beside training
  uint64_t activations = 0;         // 0 where the model is not known as a spec
  uint64_t activation_buffers = 0;  // that inputs of layers pass through on their way to files
  uint64_t runtime = 0;             // program, libraries, allocator

  uint64_t activation_files = 0;  // on disk

  uint64_t parameters() const { return parameters_owned + parameters_gathered; }
  // What the ledger counts.
  uint64_t state() const { return parameters() + gradients + optimizer + activation_buffers; }
  uint64_t peak() const { return state() + communication + checkpoint + activations + runtime; }
  // With the ledger's names, and "peak".
  monitor::NamedBytes by_category() const;
};

MemoryPlan plan_memory(const Model& model, const RunShape& run);

}  // namespace hydrofoil::plan
