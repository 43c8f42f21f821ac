// SPDX-License-Identifier: Apache-2.0
// What a Trainer does about disks: whether a run fits, what it may write, what it waits for.
#include <filesystem>
#include <string>
#include <system_error>

#include "hydrofoil/core/log.h"
#include "hydrofoil/monitor/format.h"
#include "hydrofoil/plan/advice.h"
#include "hydrofoil/plan/file_plan.h"
#include "hydrofoil/plan/fit.h"
#include "hydrofoil/plan/from_config.h"
#include "hydrofoil/train/agreement.h"
#include "hydrofoil/train/trainer.h"

namespace hydrofoil::train {

namespace fs = std::filesystem;

// What all ranks keep in files, and the checkpoints, must fit on the disks before anything is
// trained; and what the run will write must not be more than it may.
void Trainer::require_disk() const {
  const auto ranks = static_cast<int>(ranks_on_host_);
  on_first_rank(group_, "the disks", [&] {
    const auto model = plan::model_of(run_, spec_);
    auto shape = plan::shape_of(run_, batch_, spec_);
    std::error_code none_yet;  // checkpoints that a resumed run finds have their room already
    for (const auto& entry : fs::directory_iterator(checkpoints(), none_yet))
      if (entry.is_directory() && shape.checkpoints > 0) --shape.checkpoints;
    const auto disks = plan::disks_of(run_);
    const plan::Fit fit{.disks = plan::plan_disks(model, shape, disks, ranks),
                        .written_bytes = plan::bytes_written(model, shape),
                        .max_bytes_written = shape.max_bytes_written};
    if (const auto error = plan::disk_refusal(fit)) throw *error;
    for (const auto* disk : {&disks.states, &disks.parameters, &disks.activations})
      if (*disk && !(*disk)->kind.empty())
        log::warn((*disk)->folder + " is no local disk (" + (*disk)->kind +
                  "): what lies there costs memory or a network");
  });
}

uint64_t Trainer::planned_checkpoint() const {
  return plan::checkpoint_bytes(plan::model_of(run_, spec_), plan::shape_of(run_, batch_, spec_));
}

// An update under way has not written all of its bytes yet.
void Trainer::count_written() {
  progress_.bytes_written =
      written_before_ + static_cast<uint64_t>(group_.size()) * files_->written_bytes();
}

// Whether another step, with the checkpoint that must come after it, would be too much. The same on
// all ranks.
bool Trainer::budget_is_spent() {
  if (!run_.max_bytes_written || progress_.step >= run_.steps) return false;
  const auto shape = plan::shape_of(run_, batch_, spec_);
  const uint64_t step = static_cast<uint64_t>(group_.size()) *
                        plan::plan_files(plan::model_of(run_, spec_), shape).written();
  const auto too_much = [&](uint64_t steps) {
    const uint64_t then = progress_.bytes_written + steps * step + planned_checkpoint();
    return maximum(group_, then > *shape.max_bytes_written ? 1 : 0) != 0;
  };
  if (!too_much(2)) return false;
  model_.engine->optimizer();  // near the end every byte counts: those of the update under way too
  count_written();
  return too_much(1);
}

void Trainer::end_of_budget() const {
  const Error error(ExitCode::kDoesNotFit,
                    "stopped at step " + std::to_string(progress_.step) + ": the run has written " +
                        monitor::human_bytes(progress_.bytes_written) + " to disks, and may " +
                        monitor::human_bytes(static_cast<uint64_t>(*run_.max_bytes_written)),
                    "max_bytes_written", "raise it, and go on with --resume auto");
  if (group_.rank() != 0)
    throw EchoedError(error.code(), error.what(), error.where(), error.hint());
  throw error;
}

// Of all ranks of this host.
monitor::DiskRate Trainer::disk_rate(uint64_t read, uint64_t written, double seconds) const {
  const auto moved = static_cast<double>(read + written) * static_cast<double>(ranks_on_host_);
  const double alone = rates_.machine.file_seconds(read, written);
  return {.bytes_per_second = moved / seconds,
          .possible_bytes_per_second = alone > 0 ? moved / alone : 0};
}

std::string Trainer::file_advice(const FileMeter::Mean& files,
                                 const monitor::DiskRate& disk) const {
  const auto& zero = run_.deepspeed.zero;
  return plan::advice({.step_seconds = files.step_seconds,
                       .update_wait_seconds = files.counters.update_wait_seconds,
                       .gradient_wait_seconds = files.counters.gradient_wait_seconds,
                       .parameter_wait_seconds = files.counters.parameter_wait_seconds,
                       .bytes_per_second = disk.bytes_per_second,
                       .possible_bytes_per_second = disk.possible_bytes_per_second,
                       .state_buffers = zero.offload_optimizer.buffer_count,
                       .parameter_buffers = zero.offload_param.buffer_count});
}

}  // namespace hydrofoil::train
