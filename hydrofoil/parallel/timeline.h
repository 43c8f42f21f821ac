// SPDX-License-Identifier: Apache-2.0
// A schedule on a clock that is not real: when each task begins and ends, what stands idle, and how
// many micro-batches wait on a stage. Pure numbers.
#pragma once

#include <functional>
#include <vector>

#include "hydrofoil/parallel/schedule.h"

namespace hydrofoil::parallel {

struct TaskTimes {
  std::function<double(const Task&)> seconds;  // of a task, on its stage
  // From the end of a task to its result at the next stage; beside other work.
  double transfer_seconds = 0;
};

struct Timeline {
  struct Entry {
    Task task;
    double begin = 0, end = 0;  // seconds
  };
  std::vector<std::vector<Entry>> stages;
  std::vector<int> most_kept;  // micro-batches between forward and backward, by stage, all chunks
  double seconds = 0;          // until all is done
  // Of all stages' time, that in which they wait.
  double bubble() const;
};

// Every stage does its tasks in the order of the schedule, each as soon as its inputs are there.
Timeline play(const Schedule& schedule, const TaskTimes& times);

}  // namespace hydrofoil::parallel
