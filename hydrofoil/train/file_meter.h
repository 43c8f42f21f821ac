// SPDX-License-Identifier: Apache-2.0
// What the state in files of this rank moves, and how long steps wait for it: step by step, and in
// all.
#pragma once

#include <cstdint>

#include "hydrofoil/monitor/reporter.h"
#include "hydrofoil/train/engine.h"

namespace hydrofoil::train {

class FileMeter {
 public:
  explicit FileMeter(Engine& engine) : engine_(engine), last_(engine.file_counters()) {}

  // After every step: what has been moved and waited since the last call, by use ("optimizer_read",
  // ..; "update", ..). The update goes on beside the next step, so that what it moves is told with
  // that.
  struct Step {
    monitor::NamedBytes bytes;
    monitor::NamedSeconds waited;
  };
  Step end_step(double seconds);
  // Before something else that reads parameters (an evaluation).
  void pause();

  // The mean of whole steps, updates included: what the plan speaks of. Waits for the update under
  // way. Nothing before the second step: the first reads nothing that was never written.
  struct Mean {
    monitor::NamedBytes bytes;
    FileCounters counters;  // of a step
    double step_seconds = 0;
  };
  Mean mean_step();
  uint64_t written_bytes() const;

 private:
  Engine& engine_;
  FileCounters last_;
  FileCounters first_, sum_;  // of whole steps: where they began, and those before a pause
  double seconds_ = 0;        // of those in the sum, and since first_
  int64_t steps_ = 0;         // in the sum
  int64_t open_ = -1;         // since first_; -1: paused
};

// Read and written, by all uses.
uint64_t moved_bytes(const FileCounters& counters, bool written);

}  // namespace hydrofoil::train
