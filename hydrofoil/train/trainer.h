// SPDX-License-Identifier: Apache-2.0
// The training loop of the program: data, steps, evaluation, checkpoints, records.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "hydrofoil/checkpoint/model_source.h"
#include "hydrofoil/checkpoint/saver.h"
#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/monitor/reporter.h"
#include "hydrofoil/plan/rates.h"
#include "hydrofoil/train/activation_files.h"
#include "hydrofoil/train/corpus.h"
#include "hydrofoil/train/file_meter.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/observer.h"
#include "hydrofoil/train/snapshot.h"
#include "hydrofoil/train/stop_request.h"

namespace hydrofoil::train {

struct TrainerOptions {
  std::optional<std::filesystem::path>
      resume;                   // a checkpoint; empty path: the newest of the output
  bool json = false;            // JSON lines on standard output
  std::string created_by = {};  // version of the program, kept in checkpoints
};

class Trainer {
 public:
  // Collective. Checks that all ranks were configured alike, makes the output folder, tokenizer and
  // token files (rank 0), builds or loads the model. Error with the documented code for bad input.
  Trainer(comm::Communicator group, config::RunConfig run, TrainerOptions options);

  // Trains to the configured number of steps, or until a signal asks to stop. kOk, kInterrupted,
  // kRetryLater.
  ExitCode run();

 private:
  void open_output();
  void tell_of_stages() const;
  spec::ModelSpec load_spec();
  void require_disk() const;
  EngineOptions planned_options() const;
  void load_state();
  ExitCode train();
  // Of a step of this rank, and what it waited for other stages.
  struct StepSeconds {
    double forward = 0, backward = 0, update = 0, waiting = 0;
  };
  models::Batch micro_batch(int64_t micro) const;
  StepResult update(double& seconds);
  StepResult run_micro_batches(StepSeconds& seconds);
  StepResult run_pipeline(StepSeconds& seconds);
  StepResult train_step();
  uint64_t planned_checkpoint() const;
  void count_written();
  bool budget_is_spent();
  [[noreturn]] void end_of_budget() const;
  void require_finite(const StepResult& result) const;
  void record(const StepResult& result, double seconds);
  monitor::DiskRate disk_rate(uint64_t read, uint64_t written, double seconds) const;
  std::string file_advice(const FileMeter::Mean& files, const monitor::DiskRate& disk) const;
  void evaluate();
  checkpoint::SaveOptions save_options() const;
  checkpoint::Snapshot state_to_save();
  bool backward_changes_state() const;
  void begin_save();
  checkpoint::Saved save_now();
  void note_save(const std::function<std::optional<checkpoint::Saved>()>& ask);
  void report_save(const checkpoint::Saved& saved);
  [[noreturn]] void explain_failure(const Error& cause);
  void finish(const std::string& checkpoint);
  std::filesystem::path checkpoints() const {
    return std::filesystem::path(run_.output) / "checkpoints";
  }

  const comm::Communicator group_;
  const config::RunConfig run_;
  const TrainerOptions options_;
  const config::BatchSizes batch_;
  std::optional<std::filesystem::path> resume_from_;  // the checkpoint's folder
  std::optional<checkpoint::ModelSource> source_;     // what a model that exists starts from
  std::unique_ptr<Corpus> corpus_;
  spec::ModelSpec spec_;
  Model model_;
  std::unique_ptr<ActivationFiles> activations_;  // null: inputs of layers stay in memory
  Progress progress_;
  int64_t ranks_on_host_ = 1;
  plan::Rates rates_;  // of this machine, where the run names them
  std::unique_ptr<FileMeter> files_;
  uint64_t written_before_ = 0;  // to disks: before this start, and as checkpoints since
  std::unique_ptr<Observer> observer_;
  monitor::Reporters reporters_;
  monitor::NamedBytes wire_;      // of the last step
  monitor::NamedSeconds phases_;  // of the last step
  int64_t steps_here_ = 0, skipped_in_a_row_ = 0;
  int64_t step_first_sample_ = 0;  // of the step under way
  double seconds_here_ = 0;
  std::string last_checkpoint_;
  std::unique_ptr<checkpoint::Saver> saver_;  // null: training waits for every save
  bool save_failed_ = false;                  // the last one that was begun
};

}  // namespace hydrofoil::train
