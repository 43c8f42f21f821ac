// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/schedule.h"

#include <algorithm>
#include <array>
#include <map>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::parallel {
namespace {

using Tasks = Schedule::Tasks;
using Made = std::map<Task, size_t>;  // the slot of each task

size_t index(int i) {
  return static_cast<size_t>(i);
}

Made slots_of(const Tasks& tasks) {
  Made made;
  for (const auto& of_stage : tasks)
    for (size_t slot = 0; slot < of_stage.size(); ++slot)
      if (of_stage[slot]) made.emplace(*of_stage[slot], slot);
  return made;
}

bool ready(const PipelineShape& shape, const Made& made, const Task& task, size_t slot) {
  return std::ranges::all_of(needs(shape, task), [&](const Task& needed) {
    const auto found = made.find(needed);
    return found != made.end() && found->second < slot;
  });
}

// The slots of [first, last] in which a link keeps a micro-batch: from the arrival of what forward
// takes to the last gradient.
std::pair<size_t, size_t> kept(const Made& made, int link, int micro) {
  const auto slot_of = [&](Action action, int at) {
    const auto found = made.find({action, micro, at});
    return found == made.end() ? std::optional<size_t>() : found->second;
  };
  const size_t forward = *slot_of(Action::kForward, link);
  const size_t first = link == 0 ? forward : *slot_of(Action::kForward, link - 1) + 1;
  const auto backward = slot_of(Action::kBackward, link);
  const auto weights = slot_of(Action::kBackwardWeights, link);
  return {first, weights.value_or(backward.value_or(forward + 1))};
}

// At least 2, so that one can arrive while another is worked on.
int buffers_of(const Made& made, int micro_batches, int link) {
  size_t most = 2;
  std::vector<size_t> ends;  // of those kept, in order
  for (int micro = 0; micro < micro_batches; ++micro) {
    const auto [first, last] = kept(made, link, micro);
    std::erase_if(ends, [first = first](size_t end) { return end < first; });
    ends.push_back(last);
    most = std::max(most, ends.size());
  }
  return static_cast<int>(most);
}

// A transfer of one slot, at one of its ends.
struct Transfer {
  int lower_link;   // of the two links it joins
  bool activation;  // gradients first
  Instruction instruction;
  auto order() const { return std::tie(lower_link, activation); }
};

class Transfers {
 public:
  Transfers(const PipelineShape& shape, std::vector<StageSchedule>& stages)
      : shape_(shape), stages_(stages) {}

  // What the tasks of the slot before made, at both ends, each stage in the order of all.
  void add(size_t slot) {
    std::vector<std::vector<Transfer>> transfers(stages_.size());
    for (const StageSchedule& stage : stages_) {
      if (!stage.tasks[slot - 1]) continue;
      const Task& made = *stage.tasks[slot - 1];
      const auto to = taker(shape_, made);
      if (!to || stage_of(*to) == stage_of(made)) continue;
      const bool activation = made.action == Action::kForward;
      const int lower = std::min(made.link, to->link);
      transfers[stage_of(made)].push_back(
          {lower, activation,
           of(activation ? Operation::kSendActivation : Operation::kSendGradient, made)});
      transfers[stage_of(*to)].push_back(
          {lower, activation,
           of(activation ? Operation::kReceiveActivation : Operation::kReceiveGradient, *to)});
    }
    for (size_t s = 0; s < stages_.size(); ++s) {
      std::ranges::sort(transfers[s], {}, &Transfer::order);
      for (const Transfer& transfer : transfers[s])
        stages_[s].slots[slot].push_back(transfer.instruction);
    }
  }

  Instruction of(Operation operation, const Task& task) const {
    const int chunk = task.link / shape_.stages;
    const int buffers = stages_[stage_of(task)].buffers[index(chunk)];
    return {operation, task.micro_batch, chunk, task.micro_batch % buffers};
  }

 private:
  size_t stage_of(const Task& task) const { return index(task.link % shape_.stages); }

  const PipelineShape& shape_;
  std::vector<StageSchedule>& stages_;
};

// Each stage does its list in order, each task in the first slot after what it needs. All lists
// have as many tasks. `list_of` gives a stage's.
template <class ListOf>
Schedule in_order(const PipelineShape& shape, const ListOf& list_of) {
  std::vector<std::vector<Task>> lists;
  for (int stage = 0; stage < shape.stages; ++stage) lists.push_back(list_of(shape, stage));
  Tasks tasks(lists.size());
  std::vector<size_t> next(lists.size());
  Made made;
  const size_t all = lists.size() * lists.front().size();
  for (size_t slot = 0; made.size() < all; ++slot) {
    const size_t before = made.size();
    for (size_t s = 0; s < lists.size(); ++s) {
      const bool works = next[s] < lists[s].size() && ready(shape, made, lists[s][next[s]], slot);
      tasks[s].push_back(works ? std::optional(lists[s][next[s]++]) : std::nullopt);
      if (works) made.emplace(*tasks[s].back(), slot);
    }
    if (made.size() == before) throw std::logic_error("pipeline: tasks wait for each other");
  }
  return {shape, tasks};
}

}  // namespace

std::string_view name_of(Operation operation) {
  constexpr std::array<std::string_view, 11> kNames = {"load",
                                                       "forward",
                                                       "backward",
                                                       "backward_weights",
                                                       "send_activation",
                                                       "receive_activation",
                                                       "send_gradient",
                                                       "receive_gradient",
                                                       "reduce_tied_gradients",
                                                       "reduce_gradients",
                                                       "step"};
  return kNames[static_cast<size_t>(operation)];
}

std::vector<Task> needs(const PipelineShape& shape, const Task& task) {
  const auto [action, micro, link] = task;
  switch (action) {
    case Action::kForward:
      if (link == 0) return {};
      return {{action, micro, link - 1}};
    case Action::kBackward:
      if (link + 1 == shape.links()) return {{Action::kForward, micro, link}};
      return {{Action::kForward, micro, link}, {action, micro, link + 1}};
    case Action::kBackwardWeights:
      return {{Action::kBackward, micro, link}};
  }
  return {};
}

std::optional<Task> taker(const PipelineShape& shape, const Task& task) {
  if (task.action == Action::kBackwardWeights) return std::nullopt;
  const int to = task.link + (task.action == Action::kForward ? 1 : -1);
  if (to < 0 || to == shape.links()) return std::nullopt;
  return Task{task.action, task.micro_batch, to};
}

Schedule::Schedule(const PipelineShape& shape, const Tasks& tasks) : shape_(shape) {
  const Made made = slots_of(tasks);
  for (const auto& [task, slot] : made)
    if (!ready(shape, made, task, slot))
      throw std::logic_error("pipeline: a task before what it needs");
  for (int s = 0; s < shape.stages; ++s) {
    StageSchedule& stage = stages_.emplace_back();
    stage.tasks = tasks[index(s)];
    stage.slots.resize(stage.tasks.size());
    for (int chunk = 0; chunk < shape.chunks; ++chunk)
      stage.buffers.push_back(buffers_of(made, shape.micro_batches, chunk * shape.stages + s));
  }
  Transfers transfers(shape, stages_);
  for (size_t slot = 0; slot < slots(); ++slot) {
    if (slot > 0) transfers.add(slot);
    for (StageSchedule& stage : stages_) {
      const auto& task = stage.tasks[slot];
      if (!task) continue;
      const bool loads = task->link == 0 || task->link + 1 == shape.links();
      if (task->action == Action::kForward && loads)
        stage.slots[slot].push_back(transfers.of(Operation::kLoad, *task));
      constexpr std::array kOperations = {Operation::kForward, Operation::kBackward,
                                          Operation::kBackwardWeights};
      stage.slots[slot].push_back(
          transfers.of(kOperations[static_cast<size_t>(task->action)], *task));
    }
  }
  if (!made.contains({Action::kBackward, 0, 0})) return;
  for (StageSchedule& stage : stages_)
    for (const auto end :
         {Operation::kReduceTiedGradients, Operation::kReduceGradients, Operation::kStep})
      stage.slots.back().push_back({.operation = end});
}

Schedule one_f_one_b(const PipelineShape& shape) {
  const int stages = shape.stages;
  Tasks tasks(index(stages));
  for (int stage = 0; stage < stages; ++stage) {
    for (int slot = 0; slot < 2 * (shape.micro_batches + stages - 1); ++slot) {
      // Forward of m falls on slot 2 m + stage, backward on 2 m + 2 stages - 1 - stage.
      const bool forward = (slot + stage) % 2 == 0;
      const int since = slot - (forward ? stage : 2 * stages - 1 - stage);
      const int micro = since / 2;
      const bool works = since >= 0 && micro < shape.micro_batches;
      tasks[index(stage)].push_back(
          works ? std::optional(Task{forward ? Action::kForward : Action::kBackward, micro, stage})
                : std::nullopt);
    }
  }
  return {shape, tasks};
}

std::vector<Task> gpipe_tasks(const PipelineShape& shape, int stage) {
  std::vector<Task> list;
  for (const auto action : {Action::kForward, Action::kBackward})
    for (int micro = 0; micro < shape.micro_batches; ++micro)
      list.push_back({action, micro, stage});
  return list;
}

std::vector<Task> one_f_one_b_tasks(const PipelineShape& shape, int stage) {
  std::vector<Task> list;
  const int ahead = std::min(shape.micro_batches, shape.stages - stage - 1);
  for (int micro = 0; micro < ahead; ++micro) list.push_back({Action::kForward, micro, stage});
  for (int micro = 0; micro < shape.micro_batches; ++micro) {
    if (ahead + micro < shape.micro_batches)
      list.push_back({Action::kForward, ahead + micro, stage});
    list.push_back({Action::kBackward, micro, stage});
  }
  return list;
}

std::vector<Task> interleaved_tasks(const PipelineShape& shape, int stage) {
  const auto [micro_batches, stages, chunks] = shape;
  if (micro_batches % stages != 0)
    throw Error(ExitCode::kConfig,
                "an interleaved pipeline of " + std::to_string(stages) +
                    " stages needs a multiple of " + std::to_string(stages) +
                    " micro-batches, not " + std::to_string(micro_batches),
                "pipeline.schedule", "change gradient_accumulation_steps, or use 1f1b");
  // The i-th forward (or backward) of a stage: groups of `stages` micro-batches go through one
  // chunk after the other.
  const auto task = [&](Action action, int i) {
    const int group = i / (stages * chunks), chunk = i / stages % chunks;
    const int link = (action == Action::kForward ? chunk : chunks - 1 - chunk) * stages + stage;
    return Task{action, group * stages + i % stages, link};
  };
  const int total = micro_batches * chunks;
  const int ahead = std::min(total, 2 * (stages - stage - 1) + (chunks - 1) * stages);
  std::vector<Task> list;
  for (int i = 0; i < ahead; ++i) list.push_back(task(Action::kForward, i));
  for (int i = ahead; i < total; ++i) {
    list.push_back(task(Action::kForward, i));
    list.push_back(task(Action::kBackward, i - ahead));
  }
  for (int i = total - ahead; i < total; ++i) list.push_back(task(Action::kBackward, i));
  return list;
}

std::vector<Task> zero_bubble_tasks(const PipelineShape& shape, int stage) {
  std::vector<Task> list;
  const auto add = [&](Action action, int micro) {
    if (micro >= 0 && micro < shape.micro_batches) list.push_back({action, micro, stage});
  };
  const int ahead = std::min(shape.micro_batches, shape.stages - stage - 1);
  for (int micro = 0; micro < ahead; ++micro) add(Action::kForward, micro);
  // A stage puts off the weights of as many micro-batches as it runs fewer ahead: what is kept is
  // the same everywhere, and is left for the end, where stages wait.
  for (int micro = 0; micro < shape.micro_batches; ++micro) {
    add(Action::kForward, ahead + micro);
    add(Action::kBackward, micro);
    add(Action::kBackwardWeights, micro - stage);
  }
  for (int late = shape.micro_batches - stage; late < shape.micro_batches; ++late)
    add(Action::kBackwardWeights, late);
  return list;
}

Schedule gpipe(const PipelineShape& shape) {
  return in_order(shape, gpipe_tasks);
}

Schedule interleaved(const PipelineShape& shape) {
  return in_order(shape, interleaved_tasks);
}

Schedule zero_bubble(const PipelineShape& shape) {
  return in_order(shape, zero_bubble_tasks);
}

Schedule inference(const PipelineShape& shape) {
  // As many micro-batches as there are stages go through one chunk after the other.
  return in_order(shape, [](const PipelineShape& all, int stage) {
    const auto [micro_batches, stages, chunks] = all;
    std::vector<Task> list;
    for (int group = 0; group < micro_batches; group += stages)
      for (int chunk = 0; chunk < chunks; ++chunk)
        for (int micro = group; micro < std::min(group + stages, micro_batches); ++micro)
          list.push_back({Action::kForward, micro, chunk * stages + stage});
    return list;
  });
}

}  // namespace hydrofoil::parallel
