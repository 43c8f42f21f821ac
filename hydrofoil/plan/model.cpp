// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/model.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "hydrofoil/memory/segment_layout.h"

namespace hydrofoil::plan {
namespace {

constexpr uint64_t kPage = 4096;  // memory::ParameterCache rounds resident copies up to pages

size_t numel(const spec::ParameterSpec& parameter) {
  size_t n = 1;
  for (const int64_t extent : parameter.shape) n *= static_cast<size_t>(extent);
  return n;
}

std::vector<uint64_t> unit_bytes(const Model& model, int ranks, size_t element_bytes) {
  std::vector<uint64_t> bytes;
  for (const auto& size : unit_sizes(model, ranks))
    bytes.push_back(std::max<uint64_t>(1, (size.numel * element_bytes + kPage - 1) / kPage) *
                    kPage);
  return bytes;
}

}  // namespace

size_t Model::parameters() const {
  size_t sum = 0;
  for (const auto& unit : units)
    for (const size_t n : unit.numels) sum += n;
  return sum;
}

double RunShape::tokens_per_step() const {
  return static_cast<double>(micro_batch) * static_cast<double>(accumulation) *
         static_cast<double>(sequence_length);
}

Model model_of(const spec::ModelSpec& spec) {
  Model model{.spec = spec};
  std::map<std::string, size_t> layers;  // elements by module: weight and bias together
  for (const auto& block : spec::blocks(spec)) {
    Unit unit{.name = block.name, .numels = {}};
    for (const auto& parameter : block.parameters) {
      unit.numels.push_back(numel(parameter));
      layers[parameter.name.substr(0, parameter.name.rfind('.'))] += unit.numels.back();
    }
    model.units.push_back(std::move(unit));
  }
  for (const auto& [name, count] : layers)
    model.largest_layer = std::max(model.largest_layer, count);

  const size_t head = model.units.size() - 1;
  for (size_t unit = 0; unit <= head; ++unit) model.uses.push_back(unit);
  if (spec.tied_head && spec.head != spec::HeadKind::kClasses) {
    model.uses.push_back(0);
    model.uses.push_back(head);  // its norm, in backward
  }
  for (size_t unit = head; unit-- > 1;) model.uses.push_back(unit);
  return model;
}

Model model_of(std::vector<Unit> units) {
  Model model{.units = std::move(units)};
  for (size_t i = 0; i < model.units.size(); ++i) model.uses.push_back(i);
  for (size_t i = model.units.size(); i-- > 1;) model.uses.push_back(i - 1);
  for (const auto& unit : model.units)
    for (const size_t n : unit.numels) model.largest_layer = std::max(model.largest_layer, n);
  return model;
}

std::vector<UnitSize> unit_sizes(const Model& model, int ranks) {
  std::vector<UnitSize> sizes;
  for (const auto& unit : model.units) {
    std::vector<memory::TensorInfo> tensors;
    for (const size_t n : unit.numels) tensors.push_back({"", {static_cast<int64_t>(n)}});
    const memory::SegmentLayout layout(std::move(tensors), ranks);
    sizes.push_back({layout.numel(), layout.slice_numel()});
  }
  return sizes;
}

std::vector<uint64_t> resident_unit_bytes(const Model& model, const RunShape& run) {
  return unit_bytes(model, run.ranks, run.compute_bytes);
}

std::vector<uint64_t> stored_unit_bytes(const Model& model, const RunShape& run) {
  return unit_bytes(model, run.ranks, run.parameter_bytes);
}

uint64_t smallest_resident_bytes(const Model& model, const RunShape& run) {
  const auto bytes = resident_unit_bytes(model, run);
  const bool tied = model.spec && model.spec->tied_head;
  const size_t head = model.units.size() - 1;
  uint64_t most = 0;
  for (size_t i = 0; i < model.uses.size(); ++i) {
    std::set<size_t> needed{model.uses[i]};
    if (i + 1 < model.uses.size()) needed.insert(model.uses[i + 1]);
    if (tied && needed.contains(head)) needed.insert(0);
    uint64_t sum = 0;
    for (const size_t unit : needed) sum += bytes[unit];
    most = std::max(most, sum);
  }
  return most;
}

}  // namespace hydrofoil::plan
