// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/file_plan.h"

#include <string>
#include <utility>

#include "hydrofoil/plan/wire_plan.h"

namespace hydrofoil::plan {
namespace {

// `every`: so many steps it is read and written once.
void add(FilePlan::Tier& tier, uint64_t bytes, uint64_t reads, uint64_t writes,
         uint64_t every = 1) {
  tier.kept += bytes;
  tier.read += reads * bytes / every;
  tier.written += writes * bytes / every;
}

}  // namespace

monitor::NamedBytes FilePlan::by_operation() const {
  monitor::NamedBytes result;
  for (const auto& [name, tier] : {std::pair{"optimizer", &optimizer},
                                   {"gradients", &gradients},
                                   {"parameters", &parameters}}) {
    if (tier->read) result.emplace_back(std::string(name) + "_read", tier->read);
    if (tier->written) result.emplace_back(std::string(name) + "_written", tier->written);
  }
  return result;
}

FilePlan plan_files(const Model& model, const RunShape& run) {
  FilePlan plan;
  if (!run.any_files()) return plan;
  const auto sizes = unit_sizes(model, run);
  const auto gathers = plan_wire(model, run).gathers;
  const auto ranks = static_cast<uint64_t>(run.ranks);
  const auto micros = static_cast<uint64_t>(run.accumulation);
  const uint64_t walks = run.norms_first ? 2 : 1;
  const uint64_t every = run.zenflow ? static_cast<uint64_t>(run.zenflow->rest_interval) : 1;
  for (size_t u = 0; u < sizes.size(); ++u) {
    for (const auto& segment : sizes[u].segments) {
      const size_t own = segment.own(run);
      if (u >= run.first_in_files(sizes.size()))
        for (const size_t width : segment.bytes.optimizer_widths)
          add(plan.optimizer, run.state_files->padded_bytes(own, width), walks, walks, every);
      if (run.gradient_files())
        add(plan.gradients, run.state_files->padded_bytes(own, run.gradient_bytes),
            micros - 1 + walks, micros);
      if (run.parameter_files)
        add(plan.parameters, run.parameter_files->padded_bytes(own, segment.bytes.parameter),
            walks + ranks * static_cast<uint64_t>(gathers[u]), 1);
    }
  }
  return plan;
}

uint64_t checkpoint_bytes(const Model& model, const RunShape& run) {
  uint64_t bytes = 0;
  for (const auto& unit : model.all_units())
    for (size_t i = 0; i < unit.numels.size(); ++i) {
      const auto element = run.element_bytes(unit.is_linear(i));
      bytes += unit.numels[i] * (element.parameter + element.optimizer());
    }
  return bytes;
}

uint64_t bytes_written(const Model& model, const RunShape& run) {
  const FilePlan files = plan_files(model, run);
  const uint64_t rank = files.parameters.kept + static_cast<uint64_t>(run.steps) * files.written();
  return static_cast<uint64_t>(run.all_ranks()) * rank +
         static_cast<uint64_t>(run.saves) * checkpoint_bytes(model, run);
}

}  // namespace hydrofoil::plan
