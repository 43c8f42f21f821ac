// SPDX-License-Identifier: Apache-2.0
// What each stage of a pipeline does when, as data: printed by planners, timed on a clock that is
// not real (timeline.h), and followed by the executor. Pure numbers.
//
//   const Schedule schedule = one_f_one_b({.micro_batches = 8, .stages = 4});
//   for (const Slot& slot : schedule.stage(1).slots)
//     for (const Instruction& instruction : slot) ...
//
// A schedule is a table: in each slot of time a stage has one task, or none (a bubble). Transfers
// follow from it by one rule: what a task made leaves in the next slot, and is received in that
// same slot. All ranks order the transfers of a slot alike, by link and the gradient first, so that
// even transfers that wait for each other cannot lock up.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace hydrofoil::parallel {

enum class Action : uint8_t {
  kForward,
  kBackward,         // gradients of inputs, and of weights where they are not apart
  kBackwardWeights,  // gradients of weights, of schedules that put them off
};

// What a stage computes in a slot. The model is a chain of stages x chunks links, in the order of
// forward: link l is chunk l / stages of stage l % stages.
struct Task {
  Action action = Action::kForward;
  int micro_batch = 0, link = 0;
  auto operator<=>(const Task&) const = default;
};

enum class Operation : uint8_t {
  kLoad,  // of tokens, by the first chunk, or of labels, by the last
  kForward,
  kBackward,
  kBackwardWeights,
  kSendActivation,
  kReceiveActivation,
  kSendGradient,
  kReceiveGradient,
  kReduceTiedGradients,
  kReduceGradients,
  kStep,
};
std::string_view name_of(Operation operation);

struct Instruction {
  Operation operation = Operation::kLoad;
  int micro_batch = -1, chunk = 0;  // of those that have one
  int buffer = -1;                  // of the chunk: where it keeps a micro-batch until backward
  bool operator==(const Instruction&) const = default;
};

using Slot = std::vector<Instruction>;

struct StageSchedule {
  std::vector<std::optional<Task>> tasks;  // by slot
  std::vector<Slot> slots;                 // the same with all transfers
  std::vector<int> buffers;                // by chunk: micro-batches it keeps at a time
};

struct PipelineShape {
  int micro_batches = 1;
  int stages = 1;
  int chunks = 1;  // of the model on each stage; more than 1: interleaved
  int links() const { return stages * chunks; }
};
// What a task needs to be done before it; which task takes what it makes.
std::vector<Task> needs(const PipelineShape& shape, const Task& task);
std::optional<Task> taker(const PipelineShape& shape, const Task& task);

class Schedule {
 public:
  using Tasks = std::vector<std::vector<std::optional<Task>>>;  // by stage and slot, all as many
  // std::logic_error where a task comes before what it needs.
  Schedule(const PipelineShape& shape, const Tasks& tasks);

  const PipelineShape& shape() const { return shape_; }
  const StageSchedule& stage(int stage) const { return stages_[static_cast<size_t>(stage)]; }
  size_t slots() const { return stages_.front().tasks.size(); }

 private:
  PipelineShape shape_;
  std::vector<StageSchedule> stages_;
};

// All forwards, then all backwards (arXiv 1811.06965).
Schedule gpipe(const PipelineShape& shape);
// One forward, one backward (arXiv 1806.03377): DeepSpeed's table, slot for slot.
Schedule one_f_one_b(const PipelineShape& shape);
// The same over several chunks a stage: the bubble shrinks by their number, transfers grow by it
// (arXiv 2104.04473). Micro-batches must be a multiple of the stages: Error(kConfig).
Schedule interleaved(const PipelineShape& shape);
// Gradients of weights fill the bubbles; no more micro-batches are kept than the first stage of
// 1F1B keeps (ZB-H1 of arXiv 2401.10241).
Schedule zero_bubble(const PipelineShape& shape);
// What a stage does in them, in order, without slots and transfers.
std::vector<Task> gpipe_tasks(const PipelineShape& shape, int stage);
std::vector<Task> one_f_one_b_tasks(const PipelineShape& shape, int stage);
std::vector<Task> interleaved_tasks(const PipelineShape& shape, int stage);
std::vector<Task> zero_bubble_tasks(const PipelineShape& shape, int stage);
// Forwards only.
Schedule inference(const PipelineShape& shape);

}  // namespace hydrofoil::parallel
