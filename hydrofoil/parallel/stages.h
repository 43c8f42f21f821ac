// SPDX-License-Identifier: Apache-2.0
// How a model becomes a pipeline: which blocks each stage holds, and which schedule they follow.
//
//   const Cuts cuts = cut_blocks(spec, {.stages = 4}, 2048);
//   held_blocks(cuts, 4, 1);  // by stage 1
//
// Pure numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "hydrofoil/parallel/partition.h"
#include "hydrofoil/parallel/schedule.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/spec/units.h"

namespace hydrofoil::parallel {

enum class ScheduleKind : uint8_t { kOneForwardOneBackward, kGPipe, kInterleaved, kZeroBubble };
std::string_view name_of(ScheduleKind kind);  // pipeline.schedule of a configuration

struct PipelineChoice {
  int stages = 1;
  ScheduleKind schedule = ScheduleKind::kOneForwardOneBackward;
  int chunks = 1;  // of a stage; more than 1: interleaved
  int links() const { return stages * chunks; }
  PipelineShape shape(int micro_batches) const { return {micro_batches, stages, chunks}; }
  // Whether gradients of weights are tasks of their own, done when there is nothing else to do.
  bool puts_off_weights() const { return schedule == ScheduleKind::kZeroBubble; }
  // Whether a stage has more than one backward pass a micro-batch.
  bool several_backwards() const { return chunks > 1 || puts_off_weights(); }
};

Schedule schedule_of(const PipelineChoice& choice, int micro_batches);
// What a stage does in it, in order.
std::vector<Task> tasks_of(const PipelineChoice& choice, int micro_batches, int stage);

// What blocks of a kind take, in any unit; an embedding takes nothing.
struct BlockTimes {
  double layer = 0, head = 0;
};

// Where the blocks of each link begin. Partition: "best", as much arithmetic on each; "uniform", as
// many blocks; "parameters", as many parameters; "measured", as much of these times; "type:REGEX",
// as many blocks with such a name ("embedding", "layer", "head", whatever the case). Error(kConfig)
// for more links than layers, or another partition.
Cuts cut_blocks(const spec::ModelSpec& spec, const PipelineChoice& choice, int64_t sequence_length,
                const std::string& partition = "best", BlockTimes measured = {});
// What a stage holds of them; one stage: everything.
spec::HeldBlocks held_blocks(const Cuts& cuts, int stages, int stage);

}  // namespace hydrofoil::parallel
