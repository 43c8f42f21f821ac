// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/model.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "hydrofoil/core/align.h"
#include "hydrofoil/memory/segment_layout.h"
#include "hydrofoil/spec/units.h"

namespace hydrofoil::plan {
namespace {

constexpr uint64_t kPage = 4096;   // memory::ParameterCache rounds resident copies up to pages
constexpr uint64_t kBlock = 4096;  // memory::FileTier pieces: io::kDirectAlign

size_t numel(const spec::ParameterSpec& parameter) {
  size_t n = 1;
  for (const int64_t extent : parameter.shape) n *= static_cast<size_t>(extent);
  return n;
}

std::vector<uint64_t> unit_bytes(const Model& model, const RunShape& run,
                                 size_t ElementBytes::* what) {
  std::vector<uint64_t> bytes;
  for (const auto& size : unit_sizes(model, run))
    bytes.push_back(round_up(std::max<uint64_t>(size.bytes(what), 1), kPage));
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

double RunShape::tokens_per_step() const {
  return static_cast<double>(micro_batch) * static_cast<double>(accumulation) *
         static_cast<double>(sequence_length) / sequence_ranks;
}

namespace {

// The same unit twice in a row is one use.
void use(std::vector<size_t>& uses, size_t unit) {
  if (uses.empty() || uses.back() != unit) uses.push_back(unit);
}

std::vector<size_t> order_of_use(const spec::ModelSpec& spec,
                                 const std::vector<spec::UnitSpec>& units, bool recompute) {
  std::vector<size_t> uses, tiles;  // of the head's matrix
  std::vector<std::vector<size_t>> blocks(units.back().block + 1);
  for (size_t u = 0; u < units.size(); ++u) {
    use(uses, u);
    blocks[units[u].block].push_back(u);
    const bool of_head = units[u].tied_tile || units[u].block + 1 == blocks.size();
    if (of_head && units[u].parameters.size() == 1 && units[u].parameters[0].tile)
      tiles.push_back(u);
  }
  if (spec.tied_head && spec.head != spec::HeadKind::kClasses) {
    if (tiles.empty()) use(uses, 0);
    for (const size_t u : tiles) use(uses, u);
  }
  for (size_t t = tiles.size(); t-- > 0;) use(uses, tiles[t]);
  for (size_t b = blocks.size(); b-- > 1;) {
    const bool layer = b + 1 < blocks.size();
    for (size_t i = 0; layer && recompute && i < blocks[b].size(); ++i) use(uses, blocks[b][i]);
    for (size_t i = blocks[b].size(); i-- > 0;)
      if (std::ranges::find(tiles, blocks[b][i]) == tiles.end()) use(uses, blocks[b][i]);
  }
  return uses;
}

}  // namespace

namespace {

Unit unit_of(const spec::UnitSpec& from, const spec::ModelSpec& spec) {
  Unit unit{.name = from.name, .numels = {}};
  unit.reduced_twice = from.tied_tile;
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

Model model_of(const spec::ModelSpec& spec, int64_t unit_elements, spec::TensorPart part) {
  Model model{.unit_elements = unit_elements, .spec = spec::part_of(spec, part)};
  std::map<std::string, size_t> layers;  // elements by module: weight and bias together
  const auto units = spec::units(spec, unit_elements, {}, part);
  for (const auto& from : units) {
    model.units.push_back(unit_of(from, spec));
    for (const auto& parameter : from.parameters)
      layers[parameter.name.substr(0, parameter.name.rfind('.'))] += numel(parameter);
  }
  if (part.ranks > 1)
    for (const auto& from : spec::units(spec, unit_elements))
      model.whole.push_back(unit_of(from, spec));
  for (const auto& [name, count] : layers)
    model.largest_layer = std::max(model.largest_layer, count);
  model.tied = spec.tied_head && !units.front().tied_tile;
  const auto& of_head = (spec.tied_head ? units.front() : units.back()).parameters;
  model.tiled_head = std::ranges::any_of(of_head, &spec::ParameterSpec::tile);
  model.kv_ranks = spec::kv_sharers(spec, part);
  model.uses = order_of_use(spec, units, false);
  model.recomputed_uses = order_of_use(spec, units, true);
  return model;
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
