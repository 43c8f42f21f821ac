// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/memory_plan.h"

#include <algorithm>

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
uint64_t two_neighbours(const std::vector<UnitSize>& sizes) {
  uint64_t most = sizes.empty() ? 0 : sizes.front().numel;
  for (size_t i = 1; i < sizes.size(); ++i)
    most = std::max<uint64_t>(most, sizes[i - 1].numel + sizes[i].numel);
  return most;
}

void plan_optimizer(MemoryPlan& plan, const std::vector<UnitSize>& sizes, const RunShape& run) {
  const double share = run.state_files ? run.state_files->share : 0;
  const auto first_in_files = static_cast<size_t>((1 - share) * static_cast<double>(sizes.size()));
  uint64_t pieces = 0, largest_piece = 0;
  for (size_t unit = 0; unit < sizes.size(); ++unit) {
    const uint64_t own = run.effective_stage() >= 1 ? sizes[unit].slice_numel : sizes[unit].numel;
    if (!run.state_files || unit < first_in_files) {
      plan.optimizer += own * run.optimizer_bytes;
      continue;
    }
    const uint64_t chunk = run.state_files->chunk_elements;
    plan.optimizer_files += own * run.optimizer_bytes;
    pieces += (own + chunk - 1) / chunk;
    largest_piece = std::max(largest_piece, std::min(chunk, own) * run.optimizer_bytes);
  }
  if (pieces > 0)
    plan.optimizer += std::min<uint64_t>(pieces, run.state_files->buffers) * largest_piece;
}

}  // namespace

monitor::NamedBytes MemoryPlan::by_category() const {
  return {{"parameters", parameters()}, {"gradients", gradients},
          {"optimizer", optimizer},     {"communication", communication},
          {"checkpoint", checkpoint},   {"activations", activations},
          {"runtime", runtime},         {"peak", peak()}};
}

MemoryPlan plan_memory(const Model& model, const RunShape& run) {
  const auto sizes = unit_sizes(model, run.ranks);
  const auto resident = resident_unit_bytes(model, run);
  const int stage = run.effective_stage();
  uint64_t whole = 0, slices = 0, largest_slice = 0;
  for (const auto& size : sizes) {
    whole += size.numel;
    slices += size.slice_numel;
    largest_slice = std::max<uint64_t>(largest_slice, size.slice_numel);
  }
  MemoryPlan plan;
  if (stage == 3) {
    plan.parameters_owned = slices * run.parameter_bytes;
  } else {
    for (const uint64_t bytes : stored_unit_bytes(model, run)) plan.parameters_owned += bytes;
  }
  if (run.copies())
    plan.parameters_gathered =
        simulate_gathers(resident, model.uses, run.accumulation,
                         run.resident_bytes.value_or(smallest_resident_bytes(model, run)))
            .peak_bytes;
  plan.gradients = (stage >= 2 ? slices + two_neighbours(sizes) : whole) * run.gradient_bytes;
  plan_optimizer(plan, sizes, run);
  if (run.ranks > 1)
    plan.communication = kStageBytes + kRingBytes * static_cast<uint64_t>(run.ranks - 1);
  // From the second micro-batch on, a reduced slice arrives beside the accumulated one; a narrower
  // one always does.
  if (stage >= 2 && (run.accumulation > 1 || run.gradient_wire_bytes != run.gradient_bytes))
    plan.communication += largest_slice * run.gradient_wire_bytes;
  plan.checkpoint = std::min<uint64_t>(run.save_buffer_bytes,
                                       slices * (run.parameter_bytes + run.optimizer_bytes));
  if (model.spec)
    plan.activations =
        activation_bytes(*model.spec, run.micro_batch, run.sequence_length, run.recompute) *
        run.compute_bytes / 4;
  plan.runtime = kRuntimeBytes;
  return plan;
}

}  // namespace hydrofoil::plan
