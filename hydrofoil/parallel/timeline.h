// SPDX-License-Identifier: Apache-2.0
// Pipelines on a clock that is not real: when each task begins and ends, what stands idle, and how
// many micro-batches wait on a stage. Pure numbers.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "hydrofoil/parallel/schedule.h"

namespace hydrofoil::parallel {

struct TaskTimes {
  std::function<double(const Task&)> seconds;  // of a task, on its stage
  // From the end of a task to its result at another stage, beside other work; null: none.
  std::function<double(const Task& made)> transfer = {};
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
// `lists`: by stage, its tasks in order. std::logic_error where they wait for each other.
Timeline play(const PipelineShape& shape, std::span<const std::vector<Task>> lists,
              const TaskTimes& times);

// Pipelines side by side: the ranks of one stage are copies of each other, 0 to copies - 1.
struct CopyTimes {
  int copies = 1;
  // Of a task that a copy begins at that time; infinite: it never ends.
  std::function<double(const Task&, int copy, double begin)> seconds;
  std::function<double(const Task& made)> transfer = {};
  // How many neighbours exchange something in a task, and end it together; null: each for itself.
  std::function<int(const Task&)> team = {};
};
// Told of every task of every copy, those of one copy in order. What never begins, or never ends,
// does so at infinity.
using Visit = std::function<void(const Task&, int copy, double begin, double end)>;
void play(const PipelineShape& shape, std::span<const std::vector<Task>> lists,
          const CopyTimes& times, const Visit& visit);

// The most micro-batches between forward and last backward of a stage that follows this list.
int most_kept(std::span<const Task> tasks);
// The most of them that have had their backward but for the gradients of weights.
int most_put_off(std::span<const Task> tasks);

}  // namespace hydrofoil::parallel
