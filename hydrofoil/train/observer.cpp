// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/observer.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "hydrofoil/config/batch.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/plan/from_config.h"

namespace hydrofoil::train {
namespace {

std::vector<std::string> block_names(const spec::ModelSpec& spec) {
  std::vector<std::string> names;
  for (const auto& block : spec::blocks(spec)) names.push_back(block.name);
  return names;
}

std::vector<UnitCost> costs_of(const spec::ModelSpec& spec, int64_t sequence_length,
                               const spec::HeldBlocks& held) {
  auto all = unit_costs(spec, sequence_length);
  if (held.empty()) return all;
  std::vector<UnitCost> own;
  for (size_t block = 0; block < all.size(); ++block)
    if (held[block]) own.push_back(std::move(all[block]));
  return own;
}

}  // namespace

Observer::Observer(comm::Communicator group, const config::RunConfig& run,
                   const spec::ModelSpec& spec, const spec::HeldBlocks& held)
    : group_(std::move(group)),
      run_(run),
      timeline_(group_),
      watch_(group_.flight_ring(), block_names(spec), [this] { timeline_.poll(); }),
      units_(
          costs_of(spec::part_of(spec, plan::tensor_part(run)), run.data.sequence_length, held)) {}

bool Observer::traced() const {
  const auto& [count, first] = run_.trace;
  return steps_here_ >= first && steps_here_ < first + count;
}

bool Observer::profiled() const {
  const auto& profiler = run_.deepspeed.flops_profiler;
  return profiler.enabled && steps_here_ == profiler.profile_step;
}

void Observer::begin_step(int64_t step) {
  ++steps_here_;
  step_number_ = step;
  if (traced() || profiled()) timeline_.begin();
  step_.emplace(group_.flight_ring(), "step " + std::to_string(step));
}

void Observer::end_step(double seconds) {
  step_.reset();
  if (!traced() && !profiled()) return;
  const auto events = timeline_.end();
  if (traced()) write_trace(events);
  if (profiled()) write_profile(events, seconds);
}

int64_t Observer::tokens() const {
  const auto batch = config::resolve_batch(run_.deepspeed, group_.size());
  return batch.micro_batch_size * batch.accumulation_steps * run_.data.sequence_length /
         run_.mesh.sp;
}

std::optional<double> Observer::mfu(double seconds) const {
  if (peak_flops_ == 0) return std::nullopt;
  double flops = 0;
  for (const auto& unit : units_) flops += 3 * unit.forward_flops * static_cast<double>(tokens());
  return flops / seconds / peak_flops_;
}

// All ranks measure: what one reaches alone is more than what it reaches beside the others.
void Observer::write_profile(const std::vector<monitor::TraceEvent>& events, double seconds) {
  group_.barrier();
  peak_flops_ = measured_peak_flops();
  group_.barrier();
  if (group_.rank() != 0) return;
  const auto& profiler = run_.deepspeed.flops_profiler;
  const std::string table =
      profile_table(units_,
                    {.step = step_number_,
                     .tokens = tokens(),
                     .seconds = seconds,
                     .peak_flops = peak_flops_,
                     .units = profiler.detailed && profiler.module_depth != 0},
                    events);
  if (profiler.output_file.empty())
    return log::info(std::string_view(table).substr(0, table.size() - 1));
  try {
    io::atomic_write(profiler.output_file, table);
  } catch (const Error& error) {
    log::warn("the profile is not kept: " + error.line());
  }
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
