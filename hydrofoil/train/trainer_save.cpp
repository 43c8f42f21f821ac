// SPDX-License-Identifier: Apache-2.0
// What a Trainer keeps: checkpoints, and steps whose numbers were not finite.
#include <chrono>
#include <string>
#include <utility>

#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/train/agreement.h"
#include "hydrofoil/train/numeric_failure.h"
#include "hydrofoil/train/trainer.h"

namespace hydrofoil::train {

namespace fs = std::filesystem;

checkpoint::SaveOptions Trainer::save_options() const {
  return {.root = checkpoints(),
          .keep = static_cast<int>(run_.keep),
          .created_by = options_.created_by};
}

checkpoint::Snapshot Trainer::state_to_save() {
  model_.engine->optimizer();
  count_written();
  Progress with_this = progress_;
  with_this.bytes_written += planned_checkpoint();
  return snapshot(*model_.engine, with_this,
                  {{"run.json", config::resolved_json(run_)},
                   {"config.json", spec::hf_config(spec_)},
                   {"tokenizer.json", io::read_text(corpus_->tokenizer_file)}});
}

// What is saved, or the files it is read from; else that waits for the update.
bool Trainer::backward_changes_state() const {
  const auto& zero = run_.deepspeed.zero;
  return run_.updates_in_backward() || zero.offload_optimizer.device == config::Device::kNvme ||
         zero.offload_param.device == config::Device::kNvme;
}

// In the middle of a run: beside training where there is memory for it.
void Trainer::begin_save() {
  const comm::Activity activity(group_.flight_ring(), "checkpoint");
  if (saver_) note_save([&] { return saver_->finish(); });
  save_failed_ = false;
  if (!saver_) return note_save([&] { return std::optional(save_now()); });
  saver_->start(state_to_save());
  if (backward_changes_state()) saver_->wait_for_copy();
}

checkpoint::Saved Trainer::save_now() {
  const comm::Activity activity(group_.flight_ring(), "checkpoint");
  const auto start = std::chrono::steady_clock::now();
  const auto folder = checkpoint::save(group_, state_to_save(), save_options());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return {.step = progress_.step, .folder = folder, .seconds = seconds, .waited_seconds = seconds};
}

// A save that fails in the middle of a run costs a warning: the run and the older checkpoints are
// worth more than the message. Ranks may hear of it at different steps.
void Trainer::note_save(const std::function<std::optional<checkpoint::Saved>()>& ask) {
  try {
    if (const auto saved = ask()) report_save(*saved);
  } catch (const Error& error) {
    if (error.code() != ExitCode::kCheckpoint) throw;
    save_failed_ = true;
    if (group_.rank() == 0) log::warn("not saved, training goes on: " + error.line());
  }
}

void Trainer::report_save(const checkpoint::Saved& saved) {
  last_checkpoint_ = saved.folder.string();
  written_before_ += planned_checkpoint();
  count_written();
  reporters_.report(monitor::SavedRecord{.step = saved.step,
                                         .checkpoint = last_checkpoint_,
                                         .seconds = saved.seconds,
                                         .waited_seconds = saved.waited_seconds});
}

// All ranks are here with the same cause. Nothing has been updated: the weights are those that
// gave these numbers.
void Trainer::explain_failure(const Error& cause) {
  const FailedStep failed{.step = model_.engine->steps() + 1,
                          .shape = {.micro_batch_size = batch_.micro_batch_size,
                                    .accumulation = batch_.accumulation_steps,
                                    .ranks = model_.share.ranks,
                                    .recompute = run_.recompute},
                          .batch = corpus_->train->shuffled(progress_.seed, step_first_sample_,
                                                            batch_.train_batch_size)};
  const auto keep = [&](const fs::path& root) {
    auto options = save_options();
    options.root = root;
    checkpoint::save(group_, state_to_save(), options);
  };
  const Error error = explain(model_, failed, run_.output, keep, cause);
  if (group_.rank() != 0)
    throw EchoedError(error.code(), error.what(), error.where(), error.hint());
  throw error;
}

}  // namespace hydrofoil::train
