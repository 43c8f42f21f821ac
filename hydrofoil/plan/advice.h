// SPDX-License-Identifier: Apache-2.0
// What holds up a run with state in files, and the setting that would help it most.
#pragma once

#include <cstdint>
#include <string>

namespace hydrofoil::plan {

// Of a rank, in the mean of its steps.
struct FileSteps {
  double step_seconds = 0;
  // That the loop itself stood still: for an update under way, for gradients on their way to files,
  // for parameters on their way in.
  double update_wait_seconds = 0, gradient_wait_seconds = 0, parameter_wait_seconds = 0;
  double bytes_per_second = 0;           // that went from and to files
  double possible_bytes_per_second = 0;  // that the disk could have moved; 0: not known
  int64_t state_buffers = 0, parameter_buffers = 0;

  double wait_share() const;  // of the step
};

// One sentence, without its full stop: "waits for the update 23 %: raise .. to 6".
std::string advice(const FileSteps& steps);

}  // namespace hydrofoil::plan
