// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/timeline.h"

#include <algorithm>
#include <map>

namespace hydrofoil::parallel {
namespace {

int most_kept(const std::vector<std::optional<Task>>& tasks) {
  const bool apart = std::ranges::any_of(
      tasks, [](const auto& task) { return task && task->action == Action::kBackwardWeights; });
  const Action last = apart ? Action::kBackwardWeights : Action::kBackward;
  int kept = 0, most = 0;
  for (const auto& task : tasks) {
    if (!task) continue;
    if (task->action == Action::kForward) most = std::max(most, ++kept);
    if (task->action == last) --kept;
  }
  return most;
}

}  // namespace

double Timeline::bubble() const {
  double busy = 0;
  for (const auto& stage : stages)
    for (const Entry& entry : stage) busy += entry.end - entry.begin;
  return 1 - busy / (seconds * static_cast<double>(stages.size()));
}

Timeline play(const Schedule& schedule, const TaskTimes& times) {
  const PipelineShape& shape = schedule.shape();
  const auto stages = static_cast<size_t>(shape.stages);
  Timeline timeline;
  timeline.stages.resize(stages);
  std::map<Task, double> ends;
  // A task needs only what stands in slots before its own, so slots are an order of all tasks.
  for (size_t slot = 0; slot < schedule.slots(); ++slot) {
    for (size_t s = 0; s < stages; ++s) {
      const auto& task = schedule.stage(static_cast<int>(s)).tasks[slot];
      if (!task) continue;
      auto& done = timeline.stages[s];
      double begin = done.empty() ? 0 : done.back().end;
      for (const Task& needed : needs(shape, *task))
        begin = std::max(
            begin, ends.at(needed) + (needed.link == task->link ? 0 : times.transfer_seconds));
      done.push_back({*task, begin, begin + times.seconds(*task)});
      ends[*task] = done.back().end;
      timeline.seconds = std::max(timeline.seconds, done.back().end);
    }
  }
  for (int s = 0; s < shape.stages; ++s)
    timeline.most_kept.push_back(most_kept(schedule.stage(s).tasks));
  return timeline;
}

}  // namespace hydrofoil::parallel
