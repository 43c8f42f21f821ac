// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/model.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <tuple>
#include <utility>

#include "hydrofoil/core/align.h"
#include "hydrofoil/memory/segment_layout.h"
#include "hydrofoil/spec/units.h"

namespace hydrofoil::plan {
namespace {

constexpr uint64_t kBlock = 4096;  // memory::FileTier pieces: io::kDirectAlign

size_t numel(const spec::ParameterSpec& parameter) {
  return static_cast<size_t>(parameter.numel());
}

std::vector<uint64_t> unit_bytes(const Model& model, const RunShape& run,
                                 size_t ElementBytes::* what) {
  std::vector<uint64_t> bytes;
  for (const auto& size : unit_sizes(model, run))
    bytes.push_back(round_up(std::max<uint64_t>(size.bytes(what), 1), kPageBytes));
  return bytes;
}

// Those of its tensors that are of matrix products, or all others.
memory::SegmentLayout layout_of(const Unit& unit, int ranks, std::optional<bool> linear) {
  std::vector<memory::TensorInfo> tensors;
  for (size_t i = 0; i < unit.numels.size(); ++i)
    if (!linear || unit.is_linear(i) == *linear)
      tensors.push_back({"", {static_cast<int64_t>(unit.numels[i])}});
  return {std::move(tensors), ranks};
}

}  // namespace

size_t Model::parameters() const {
  size_t sum = 0;
  for (const auto& unit : all_units())
    for (const size_t n : unit.numels) sum += n;
  return sum;
}

size_t Files::pieces(size_t elements) const {
  return (elements + chunk_elements - 1) / chunk_elements;
}

uint64_t Files::padded_bytes(size_t elements, size_t element_bytes) const {
  const size_t last = elements % chunk_elements;
  return (elements / chunk_elements) * round_up(chunk_elements * element_bytes, kBlock) +
         round_up(last * element_bytes, kBlock);
}

size_t RunShape::first_in_files(size_t units) const {
  return state_files ? static_cast<size_t>((1 - state_files->share) * static_cast<double>(units))
                     : units;
}

size_t ElementBytes::optimizer() const {
  return std::accumulate(optimizer_widths.begin(), optimizer_widths.end(), size_t{0});
}

std::vector<std::vector<parallel::Task>> RunShape::tasks() const {
  std::vector<std::vector<parallel::Task>> lists;
  for (int s = 0; s < pipeline.stages; ++s) lists.push_back(tasks(s));
  return lists;
}

double RunShape::tokens_per_step() const {
  return static_cast<double>(micro_batch) * static_cast<double>(accumulation) *
         static_cast<double>(sequence_length) / sequence_ranks;
}

namespace {

// The same unit twice in a row is one use.
void use(std::vector<size_t>& uses, size_t unit) {
  if (uses.empty() || uses.back() != unit) uses.push_back(unit);
}

// Units of the head's matrix that are used alone: tiles, and what of a tied weight is only here.
bool is_part_of_head(const spec::ModelSpec& spec, const spec::UnitSpec& unit) {
  const bool of_head = unit.tied_tile || unit.block == static_cast<size_t>(spec.layers) + 1;
  return of_head && unit.parameters.size() == 1 && (unit.parameters[0].tile || unit.has_twin);
}

std::vector<size_t> forward_uses(const spec::ModelSpec& spec,
                                 const std::vector<spec::UnitSpec>& units) {
  std::vector<size_t> uses, parts;
  bool both_ends = spec.tied_head && spec.head != spec::HeadKind::kClasses;
  for (size_t u = 0; u < units.size(); ++u) {
    use(uses, u);
    both_ends &= !units[u].has_twin;
    if (is_part_of_head(spec, units[u])) parts.push_back(u);
  }
  const bool head = units.back().block == static_cast<size_t>(spec.layers) + 1;
  if (!both_ends || !head || units.front().block > 0) return uses;
  if (parts.empty()) use(uses, 0);
  for (const size_t u : parts) use(uses, u);
  return uses;
}

std::vector<size_t> backward_uses(const spec::ModelSpec& spec,
                                  const std::vector<spec::UnitSpec>& units, bool recompute) {
  const size_t head = static_cast<size_t>(spec.layers) + 1;
  std::vector<size_t> uses;
  std::vector<std::vector<size_t>> blocks(head + 1);
  for (size_t u = 0; u < units.size(); ++u) blocks[units[u].block].push_back(u);
  for (size_t u = units.size(); u-- > 0;)  // read once more for the head's gradients
    if (is_part_of_head(spec, units[u]) && units[u].parameters[0].tile) use(uses, u);
  for (size_t b = head + 1; b-- > 1;) {
    for (size_t i = 0; b < head && recompute && i < blocks[b].size(); ++i) use(uses, blocks[b][i]);
    for (size_t i = blocks[b].size(); i-- > 0;)
      if (!is_part_of_head(spec, units[blocks[b][i]])) use(uses, blocks[b][i]);
  }
  return uses;
}

std::vector<size_t> joined(std::vector<size_t> first, const std::vector<size_t>& second) {
  for (const size_t unit : second) use(first, unit);
  return first;
}

Unit unit_of(const spec::UnitSpec& from, const spec::ModelSpec& spec) {
  Unit unit{.name = from.name, .numels = {}};
  unit.reduced_twice = from.tied_tile;
  unit.has_twin = from.has_twin;
  unit.block = from.block;
  for (const auto& parameter : from.parameters) {
    unit.numels.push_back(numel(parameter));
    unit.linear.push_back(spec::is_linear(parameter));
    if (parameter.part != spec::Part::kTokens || spec.tied_head) continue;
    unit.embedding_rows = static_cast<size_t>(parameter.shape[0]);
    unit.embedding_width = static_cast<size_t>(parameter.shape[1]);
  }
  return unit;
}

}  // namespace

Model model_of(const spec::ModelSpec& spec, int64_t unit_elements, spec::TensorPart part,
               const spec::HeldBlocks& held) {
  Model model{.unit_elements = unit_elements,
              .spec = spec::part_of(spec, part),
              .whole_spec = spec,
              .part = part,
              .held = held};
  std::map<std::string, size_t> layers;  // elements by module: weight and bias together
  const auto units = spec::units(spec, unit_elements, held, part);
  for (const auto& from : units) {
    model.units.push_back(unit_of(from, spec));
    for (const auto& parameter : from.parameters)
      layers[parameter.name.substr(0, parameter.name.rfind('.'))] += numel(parameter);
  }
  if (part.ranks > 1)
    for (const auto& from : spec::units(spec, unit_elements, held))
      model.whole.push_back(unit_of(from, spec));
  for (const auto& [name, count] : layers)
    model.largest_layer = std::max(model.largest_layer, count);
  const auto& of_head =
      (spec.tied_head && model.holds(0) ? units.front() : units.back()).parameters;
  model.tiled_head = std::ranges::any_of(of_head, &spec::ParameterSpec::tile);
  model.kv_ranks = spec::kv_sharers(spec, part);
  model.passes = {.forward = forward_uses(spec, units),
                  .backward = backward_uses(spec, units, false),
                  .recomputed_backward = backward_uses(spec, units, true)};
  model.tied = spec.tied_head && held.empty() && !units.front().tied_tile;
  model.uses = joined(model.passes.forward, model.passes.backward);
  model.recomputed_uses = joined(model.passes.forward, model.passes.recomputed_backward);
  return model;
}

int64_t Model::layers() const {
  return held.empty() ? spec->layers : std::count(held.begin() + 1, held.end() - 1, true);
}

Model stage_of(const Model& model, const RunShape& run) {
  const auto& choice = run.pipeline;
  if (choice.stages == 1) return model;
  return model_of(*model.whole_spec, model.unit_elements, model.part,
                  parallel::held_blocks(run.cuts, choice.stages, run.pipeline_stage));
}

// Layers are alike: what differs is how many there are, and whether embedding and head are. Where
// layers are in chunks, their numbers matter, too.
Stages stages_of(const Model& model, const RunShape& run) {
  Stages stages;
  std::map<std::tuple<int64_t, bool, bool, int>, size_t> known;
  for (RunShape at = run; at.pipeline_stage < run.pipeline.stages; ++at.pipeline_stage) {
    const auto held = parallel::held_blocks(run.cuts, run.pipeline.stages, at.pipeline_stage);
    const auto blocks = std::ranges::count(held, true);
    const int number = run.pipeline.chunks > 1 ? at.pipeline_stage : 0;
    const auto [kind, fresh] = known.try_emplace(
        {blocks, held.empty() || held.front(), held.empty() || held.back(), number},
        stages.kinds.size());
    if (fresh) stages.kinds.push_back(stage_of(model, at));
    stages.kind.push_back(kind->second);
  }
  return stages;
}

// A stage of a pipeline goes through its micro-batches in the order of the schedule.
StepUses step_uses(const Model& model, const RunShape& run) {
  const auto& choice = run.pipeline;
  if (choice.stages == 1) return {uses_of(model, run), run.accumulation};
  StepUses step;
  const auto add = [&](const std::vector<size_t>& pass, int link) {
    const auto first = run.cuts[static_cast<size_t>(link)],
               end = run.cuts[static_cast<size_t>(link) + 1];
    for (const size_t unit : pass) {
      const size_t block = model.units[unit].block;
      if (choice.chunks == 1 || (block >= first && block < end)) use(step.uses, unit);
    }
  };
  const auto& backward = run.recompute ? model.passes.recomputed_backward : model.passes.backward;
  for (const auto& task : run.tasks(run.pipeline_stage)) {
    if (task.action == parallel::Action::kBackwardWeights) continue;
    add(task.action == parallel::Action::kForward ? model.passes.forward : backward, task.link);
  }
  return step;
}

Model model_of(std::vector<Unit> units) {
  Model model{.units = std::move(units)};
  for (size_t i = 0; i < model.units.size(); ++i) model.uses.push_back(i);
  for (size_t i = model.units.size(); i-- > 1;) model.uses.push_back(i - 1);
  model.recomputed_uses = model.uses;
  for (const auto& unit : model.units)
    for (const size_t n : unit.numels) model.largest_layer = std::max(model.largest_layer, n);
  return model;
}

ElementBytes RunShape::element_bytes(bool of_linear) const {
  if (of_linear && linear) return *linear;
  return {parameter_bytes, compute_bytes, gradient_wire_bytes, optimizer_widths};
}

std::vector<UnitSize> unit_sizes(const Model& model, const RunShape& run) {
  std::vector<UnitSize> sizes;
  for (const auto& unit : model.units) {
    if (const Unit* before = &unit - 1; !sizes.empty() && before->numels == unit.numels &&
                                        before->linear == unit.linear) {  // layers are alike
      sizes.push_back(sizes.back());
      continue;
    }
    UnitSize& size = sizes.emplace_back();
    const auto add = [&](std::optional<bool> linear) {
      const auto layout = layout_of(unit, run.ranks, linear);
      if (layout.numel() == 0) return;
      size.numel += layout.numel();
      size.slice_numel += layout.slice_numel();
      size.segments.push_back(
          {layout.numel(), layout.slice_numel(), run.element_bytes(linear.value_or(false))});
    };
    if (!run.linear)
      add({});
    else
      add(false), add(true);
  }
  return sizes;
}

std::vector<uint64_t> resident_unit_bytes(const Model& model, const RunShape& run) {
  return unit_bytes(model, run, &ElementBytes::compute);
}

std::vector<uint64_t> stored_unit_bytes(const Model& model, const RunShape& run) {
  return unit_bytes(model, run, &ElementBytes::parameter);
}

uint64_t smallest_resident_bytes(const Model& model, const RunShape& run) {
  const auto bytes = resident_unit_bytes(model, run);
  const auto& uses = uses_of(model, run);
  const size_t head = model.units.size() - 1;
  uint64_t most = 0;
  for (size_t i = 0; i < uses.size(); ++i) {
    std::set<size_t> needed{uses[i]};
    if (i + 1 < uses.size()) needed.insert(uses[i + 1]);
    if (model.tied && needed.contains(head)) needed.insert(0);
    uint64_t sum = 0;
    for (const size_t unit : needed) sum += bytes[unit];
    most = std::max(most, sum);
  }
  return most;
}

}  // namespace hydrofoil::plan
