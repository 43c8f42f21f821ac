// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/timeline.h"

#include <algorithm>
#include <stdexcept>

namespace hydrofoil::parallel {
namespace {

// All copies do a task before the next one is looked at: they do the same in the same order.
class Clock {
 public:
  Clock(const PipelineShape& shape, std::span<const std::vector<Task>> lists,
        const CopyTimes& times, const Visit& visit)
      : shape_(shape),
        lists_(lists),
        times_(times),
        visit_(visit),
        copies_(static_cast<size_t>(times.copies)),
        next_(lists.size()),
        free_(lists.size(), std::vector<double>(copies_)),
        ends_(3 * static_cast<size_t>(shape.links()) * static_cast<size_t>(shape.micro_batches)) {}

  void run() {
    size_t left = 0;
    for (const auto& list : lists_) left += list.size();
    while (left > 0) {
      const size_t before = left;
      for (size_t stage = 0; stage < lists_.size(); ++stage)
        for (; next_[stage] < lists_[stage].size() && ready(lists_[stage][next_[stage]]); --left)
          pass(stage, lists_[stage][next_[stage]++]);
      if (left == before) throw std::logic_error("pipeline: tasks wait for each other");
    }
  }

 private:
  std::vector<double>& ends(const Task& task) {  // of all copies; empty: it is not done
    const auto row = static_cast<size_t>(task.action) * static_cast<size_t>(shape_.links()) +
                     static_cast<size_t>(task.link);
    return ends_[row * static_cast<size_t>(shape_.micro_batches) +
                 static_cast<size_t>(task.micro_batch)];
  }
  bool ready(const Task& task) {
    return std::ranges::all_of(needs(shape_, task),
                               [&](const Task& needed) { return !ends(needed).empty(); });
  }

  void pass(size_t stage, const Task& task) {
    std::vector<double>& free = free_[stage];
    std::vector<double> begins = free;
    for (const Task& needed : needs(shape_, task)) {
      const double late = needed.link != task.link && times_.transfer ? times_.transfer(needed) : 0;
      const auto& there = ends(needed);
      for (size_t c = 0; c < copies_; ++c) begins[c] = std::max(begins[c], there[c] + late);
    }
    for (size_t c = 0; c < copies_; ++c)
      free[c] = begins[c] + times_.seconds(task, static_cast<int>(c), begins[c]);
    const auto team = times_.team ? static_cast<std::ptrdiff_t>(times_.team(task)) : 1;
    for (auto first = free.begin(); first < free.end() && team > 1; first += team)
      std::fill(first, first + team, *std::max_element(first, first + team));
    for (size_t c = 0; c < copies_; ++c) visit_(task, static_cast<int>(c), begins[c], free[c]);
    ends(task) = free;
  }

  const PipelineShape& shape_;
  const std::span<const std::vector<Task>> lists_;
  const CopyTimes& times_;
  const Visit& visit_;
  const size_t copies_;
  std::vector<size_t> next_;               // by stage, into its list
  std::vector<std::vector<double>> free_;  // by stage and copy, when its last task has ended
  std::vector<std::vector<double>> ends_;  // by task and copy
};

}  // namespace

double Timeline::bubble() const {
  double busy = 0;
  for (const auto& stage : stages)
    for (const Entry& entry : stage) busy += entry.end - entry.begin;
  return 1 - busy / (seconds * static_cast<double>(stages.size()));
}

namespace {

bool puts_off(std::span<const Task> tasks) {
  return std::ranges::find(tasks, Action::kBackwardWeights, &Task::action) != tasks.end();
}

}  // namespace

int most_kept(std::span<const Task> tasks) {
  const Action last = puts_off(tasks) ? Action::kBackwardWeights : Action::kBackward;
  int kept = 0, most = 0;
  for (const Task& task : tasks) {
    if (task.action == Action::kForward) most = std::max(most, ++kept);
    if (task.action == last) --kept;
  }
  return most;
}

int most_put_off(std::span<const Task> tasks) {
  if (!puts_off(tasks)) return 0;
  int waiting = 0, most = 0;
  for (const Task& task : tasks) {
    if (task.action == Action::kBackward) most = std::max(most, ++waiting);
    if (task.action == Action::kBackwardWeights) --waiting;
  }
  return most;
}

void play(const PipelineShape& shape, std::span<const std::vector<Task>> lists,
          const CopyTimes& times, const Visit& visit) {
  Clock(shape, lists, times, visit).run();
}

Timeline play(const Schedule& schedule, const TaskTimes& times) {
  std::vector<std::vector<Task>> lists;
  for (int s = 0; s < schedule.shape().stages; ++s) {
    auto& list = lists.emplace_back();
    for (const auto& task : schedule.stage(s).tasks)
      if (task) list.push_back(*task);
  }
  return play(schedule.shape(), lists, times);
}

Timeline play(const PipelineShape& shape, std::span<const std::vector<Task>> lists,
              const TaskTimes& times) {
  Timeline timeline;
  timeline.stages.resize(lists.size());
  for (const auto& list : lists) timeline.most_kept.push_back(most_kept(list));
  play(shape, lists,
       {.seconds = [&](const Task& task, int, double) { return times.seconds(task); },
        .transfer = times.transfer},
       [&](const Task& task, int, double begin, double end) {
         timeline.stages[static_cast<size_t>(task.link % shape.stages)].push_back(
             {task, begin, end});
         timeline.seconds = std::max(timeline.seconds, end);
       });
  return timeline;
}

}  // namespace hydrofoil::parallel
