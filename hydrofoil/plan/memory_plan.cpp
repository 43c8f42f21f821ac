// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "hydrofoil/core/align.h"
#include "hydrofoil/parallel/timeline.h"
#include "hydrofoil/plan/activations.h"
#include "hydrofoil/plan/gathers.h"

namespace hydrofoil::plan {
namespace {

// comm's shared-memory transport: two stages a rank and a ring of messages a peer.
constexpr uint64_t kStageBytes = 2 * (256 << 10), kRingBytes = 4 * (128 << 10);
// Beyond what is planned by category: libtorch, tokenizer and data (90 to 140 MiB), and what the
// allocator keeps. Measured as PSS (docs/plan.md).
constexpr uint64_t kRuntimeBytes = uint64_t{160} << 20;

// Whole-unit gradient buffers where gradients are slices: one is being filled while another is on
// the wire, in backward order.
uint64_t two_neighbours(const std::vector<UnitSize>& sizes,
                        size_t UnitSize::* elements = &UnitSize::numel) {
  uint64_t most = sizes.empty() ? 0 : sizes.front().*elements;
  for (size_t i = 1; i < sizes.size(); ++i)
    most = std::max<uint64_t>(most, sizes[i - 1].*elements + sizes[i].*elements);
  return most;
}

uint64_t slice_elements(const std::vector<UnitSize>& sizes) {
  uint64_t sum = 0;
  for (const auto& size : sizes) sum += size.slice_numel;
  return sum;
}
uint64_t slice_bytes(const std::vector<UnitSize>& sizes, const auto& what) {
  uint64_t sum = 0;
  for (const auto& size : sizes) sum += size.slice_bytes(what);
  return sum;
}
// The segment with the most elements.
SegmentSize largest_slice(const std::vector<UnitSize>& sizes) {
  SegmentSize largest;
  for (const auto& size : sizes)
    for (const auto& segment : size.segments)
      if (segment.slice_numel > largest.slice_numel) largest = segment;
  return largest;
}

// What lies in files comes and goes in pieces, each column of one in whole pages.
uint64_t piece_bytes(const Files& files, uint64_t elements, uint64_t element_bytes) {
  return round_up(std::min<uint64_t>(files.chunk_elements, elements) * element_bytes, 4096);
}

// What a piece of `own` elements has in memory while it is walked through.
uint64_t walked_bytes(const RunShape& run, const ElementBytes& element, uint64_t own, bool states) {
  const Files files = run.state_files.value_or(Files{});
  uint64_t bytes = 0;
  if (states)
    for (const size_t width : element.optimizer_widths) bytes += piece_bytes(files, own, width);
  if (run.parameter_files) bytes += piece_bytes(files, own, element.parameter);
  if (run.gradient_files()) bytes += piece_bytes(files, own, run.gradient_bytes);
  return bytes;
}

// Copies of the chosen columns: parameter, gradient and states, for a moment of two choices.
uint64_t zenflow_bytes(const std::vector<UnitSize>& sizes, const RunShape& run) {
  const size_t states = run.optimizer_widths.size() - (run.masters ? 1 : 0);
  const double elements = run.zenflow->share * static_cast<double>(slice_elements(sizes));
  return static_cast<uint64_t>(elements) * (2 + states) * sizeof(float) * 2;
}

// What lies in files is walked through together: states, parameters and gradients of a piece.
void plan_optimizer(MemoryPlan& plan, const std::vector<UnitSize>& sizes, const RunShape& run) {
  const size_t first_in_files = run.first_in_files(sizes.size());
  const Files files = run.state_files.value_or(Files{});
  uint64_t count = 0, largest = 0;  // of pieces
  for (size_t unit = 0; unit < sizes.size(); ++unit) {
    for (const auto& segment : sizes[unit].segments) {
      const size_t own = segment.own(run);
      if (unit < first_in_files) plan.optimizer += own * segment.bytes.optimizer();
      const uint64_t bytes = walked_bytes(run, segment.bytes, own, unit >= first_in_files);
      if (bytes > 0) count += files.pieces(own);
      largest = std::max(largest, bytes);
    }
  }
  plan.optimizer += std::min<uint64_t>(count, files.buffers) * largest;
  if (run.zenflow) plan.optimizer += zenflow_bytes(sizes, run);
}

// From the second micro-batch, or part, on, a reduced slice arrives beside the accumulated one; a
// narrower one, and one for a file, always does.
uint64_t arriving_bytes(const Model& model, const std::vector<UnitSize>& sizes,
                        const RunShape& run) {
  uint64_t most = 0;
  for (size_t unit = 0; unit < sizes.size(); ++unit) {
    const bool narrows = std::ranges::any_of(sizes[unit].segments, [&](const auto& segment) {
      return segment.bytes.gradient_wire != run.gradient_bytes;
    });
    if (run.accumulation > 1 || run.zenflow || model.units[unit].reduced_twice ||
        run.gradient_files() || narrows)
      most = std::max(most, sizes[unit].slice_bytes(&ElementBytes::gradient_wire));
  }
  return most;
}

// Slices in memory or in files, and the units that are on their way to them.
void plan_gradients(MemoryPlan& plan, const Model& model, const std::vector<UnitSize>& sizes,
                    const RunShape& run) {
  // Where something lies in files, an update goes on beside backward, and gradients stay for it.
  const bool in_passing =
      run.update_in_backward && run.accumulation == 1 && !run.state_files && !run.parameter_files;
  const uint64_t slices =
      in_passing ? two_neighbours(sizes, &UnitSize::slice_numel) : slice_elements(sizes);
  plan.gradients = two_neighbours(sizes) * run.gradient_bytes;
  const bool several = run.pipeline.several_backwards();  // add up before they are reduced
  if (run.effective_stage() < 2 || several) {
    if (in_passing) return;
    plan.gradients = 0;
    for (const auto& size : sizes) plan.gradients += size.numel * run.gradient_bytes;
  }
  if (run.effective_stage() < 2) return;
  if (run.gradient_files()) {
    const uint64_t slice = largest_slice(sizes).slice_numel;
    plan.gradients += std::min<uint64_t>(run.state_files->pieces(slice), run.state_files->buffers) *
                      piece_bytes(*run.state_files, slice, run.gradient_bytes);
  } else {
    plan.gradients += slices * run.gradient_bytes;
  }
  if (run.ranks > 1) plan.communication += arriving_bytes(model, sizes, run);
}

uint64_t gathered_bytes(const std::vector<uint64_t>& units, const StepUses& step, uint64_t budget) {
  return simulate_gathers(units, step.uses, step.times, budget).peak_bytes;
}

void plan_parameters(MemoryPlan& plan, const Model& model, const std::vector<UnitSize>& sizes,
                     const RunShape& run) {
  const uint64_t budget = run.resident_bytes.value_or(smallest_resident_bytes(model, run));
  const auto resident = resident_unit_bytes(model, run);
  if (run.parameter_files) {
    const SegmentSize slice = largest_slice(sizes);
    const uint64_t in_use = std::min<uint64_t>(
        run.parameter_files->pieces(slice.slice_numel) * static_cast<uint64_t>(run.ranks),
        run.parameter_files->buffers);
    const uint64_t saved = run.save_buffer_bytes > 0 ? 1 : 0;  // what a checkpoint reads
    plan.parameters_owned = (in_use + saved) * piece_bytes(*run.parameter_files, slice.slice_numel,
                                                           slice.bytes.parameter);
    // Units come in ahead of their use, as many as have room.
    plan.parameters_gathered =
        std::min(std::max(budget, *std::ranges::max_element(resident)),
                 std::accumulate(resident.begin(), resident.end(), uint64_t{0}));
    return;
  }
  if (run.effective_stage() == 3) {
    plan.parameters_owned = slice_bytes(sizes, &ElementBytes::parameter);
  } else {
    for (const uint64_t bytes : stored_unit_bytes(model, run)) plan.parameters_owned += bytes;
  }
  if (run.copies())
    plan.parameters_gathered = gathered_bytes(resident, step_uses(model, run), budget);
}

PassPart part_of(const Model& model, const RunShape& run) {
  if (run.pipeline.stages == 1) return {};
  const auto tasks = run.tasks(run.pipeline_stage);
  return {.layers = model.layers(),
          .embedding = model.holds(0),
          .head = model.has_head(),
          .kept = parallel::most_kept(tasks),
          .put_off = parallel::most_put_off(tasks),
          .chunks = run.pipeline.chunks};
}

void plan_activations(MemoryPlan& plan, const Model& model, const RunShape& run) {
  const bool in_files = run.recompute && run.activation_files;
  plan.activations = activation_bytes(*model.spec, {.micro_batch = run.micro_batch,
                                                    .sequence_length = run.sequence_length,
                                                    .recompute = run.recompute,
                                                    .unit_elements = model.unit_elements,
                                                    .mlp_rows = run.mlp_rows,
                                                    .inputs_in_files = in_files,
                                                    .sequence_ranks = run.sequence_ranks,
                                                    .part = part_of(model, run)}) *
                     run.compute_bytes / 4;
  if (!in_files) return;
  const auto layers = static_cast<uint64_t>(model.layers());
  const auto elements =
      static_cast<uint64_t>(run.micro_batch * run.part_length() * model.spec->hidden_size);
  const uint64_t input = round_up(elements * run.compute_bytes, 4096);
  plan.activation_files = layers * input;
  plan.activation_buffers = std::min<uint64_t>(layers, run.activation_files->buffers) * input;
}

}  // namespace

monitor::NamedBytes MemoryPlan::by_category() const {
  return {{"parameters", parameters()}, {"gradients", gradients},
          {"optimizer", optimizer},     {"communication", communication},
          {"checkpoint", checkpoint},   {"activations", activations + activation_buffers},
          {"runtime", runtime},         {"peak", peak()}};
}

MemoryPlan plan_memory(const Model& model, const RunShape& run) {
  const auto sizes = unit_sizes(model, run);
  MemoryPlan plan;
  plan_parameters(plan, model, sizes, run);
  plan_gradients(plan, model, sizes, run);
  plan_optimizer(plan, sizes, run);
  if (run.all_ranks() > 1)
    plan.communication += kStageBytes + kRingBytes * static_cast<uint64_t>(run.all_ranks() - 1);
  plan.checkpoint =
      std::min<uint64_t>(run.save_buffer_bytes, slice_bytes(sizes, &ElementBytes::parameter) +
                                                    slice_bytes(sizes, &ElementBytes::optimizer));
  if (model.spec) plan_activations(plan, model, run);
  plan.runtime = kRuntimeBytes;
  return plan;
}

}  // namespace hydrofoil::plan
