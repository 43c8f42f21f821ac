// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/observer.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "hydrofoil/core/log.h"

namespace hydrofoil::train {
namespace {

std::vector<std::string> block_names(const spec::ModelSpec& spec) {
  std::vector<std::string> names;
  for (const auto& block : spec::blocks(spec)) names.push_back(block.name);
  return names;
}

}  // namespace

Observer::Observer(comm::Communicator group, const config::RunConfig& run,
                   const spec::ModelSpec& spec)
    : group_(std::move(group)),
      run_(run),
      timeline_(group_),
      watch_(group_.flight_ring(), block_names(spec), [this] { timeline_.poll(); }) {}

bool Observer::traced() const {
  const auto& [count, first] = run_.trace;
  return steps_here_ >= first && steps_here_ < first + count;
}

void Observer::begin_step(int64_t step) {
  ++steps_here_;
  if (traced()) timeline_.begin();
  step_.emplace(group_.flight_ring(), "step " + std::to_string(step));
}

void Observer::end_step() {
  step_.reset();
  if (traced()) write_trace(timeline_.end());
}

void Observer::write_trace(const std::vector<monitor::TraceEvent>& events) {
  const auto all = group_.all_gather_text(monitor::trace_json(events, group_.rank()),
                                          {comm::Purpose::kControl, "timeline"});
  if (timeline_.lost() > 0)
    log::warn("the timeline misses " + std::to_string(timeline_.lost()) + " entries of rank " +
              std::to_string(group_.rank()));
  if (group_.rank() != 0) return;
  const auto path = std::filesystem::path(run_.output) / "trace.json";
  if (!trace_) trace_ = std::make_unique<monitor::TraceFile>(path.string());
  for (const auto& events_of_rank : all) trace_->add(events_of_rank);
  if (steps_here_ + 1 < run_.trace.first_step + run_.trace.steps) return;
  trace_.reset();
  log::info("the timeline is in " + path.string() + "; open it in https://ui.perfetto.dev");
}

}  // namespace hydrofoil::train
