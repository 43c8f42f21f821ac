// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/trainer.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "hydrofoil/checkpoint/deepspeed.h"
#include "hydrofoil/checkpoint/folder.h"
#include "hydrofoil/checkpoint/save.h"
#include "hydrofoil/checkpoint/verify.h"
#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/comm/meter.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/io/file.h"
#include "hydrofoil/memory/tensor_pool.h"
#include "hydrofoil/parallel/sequence.h"
#include "hydrofoil/plan/from_config.h"
#include "hydrofoil/plan/model.h"
#include "hydrofoil/plan/time_plan.h"
#include "hydrofoil/train/agreement.h"
#include "hydrofoil/train/evaluate.h"
#include "hydrofoil/train/flight_file.h"
#include "hydrofoil/train/forecast.h"
#include "hydrofoil/train/numeric_failure.h"
#include "hydrofoil/train/options.h"
#include "hydrofoil/train/reporters.h"
#include "hydrofoil/train/source.h"
#include "hydrofoil/train/stage_run.h"
#include "hydrofoil/train/threads.h"

namespace hydrofoil::train {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// A run whose gradients stay non-finite is broken; going on would only burn time.
constexpr int64_t kSkippedLimit = 5;

double seconds_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double>(end - start).count();
}

// Ready for files of this run, or a line that says why not.
void make_output(const fs::path& output) {
  std::error_code error;
  fs::create_directories(output, error);
  std::string problem;
  if (error)
    problem = "cannot make the output folder: " + error.message();
  else if (access(output.c_str(), W_OK | X_OK) != 0)
    problem = errno_message("cannot write into the output folder");
  if (!problem.empty())
    throw Error(ExitCode::kConfig, problem, output.string(),
                "choose another output, or check its rights and whether it is mounted read-only");
}

// Where memory matters more than time, what is freed goes back to the system at once: glibc would
// keep up to some hundred MiB that nobody else can have.
void return_freed_memory() {
  constexpr int kLargest = 1 << 20;  // bytes that are kept
  mallopt(M_MMAP_THRESHOLD, kLargest);
  mallopt(M_TRIM_THRESHOLD, kLargest);
}

void watch_comm(const comm::Communicator& group, const config::CommsLogger& logger) {
  std::vector<comm::Operation> operations;
  if (!logger.prof_all)
    for (const auto& name : logger.prof_ops) operations.push_back(comm::operation_named(name));
  if (!logger.enabled || (!logger.prof_all && operations.empty())) return;
  group.meter().timings().watch(operations, logger.verbose && group.rank() == 0);
}

}  // namespace

Trainer::Trainer(comm::Communicator group, config::RunConfig run, TrainerOptions options)
    : group_(std::move(group)),
      run_(std::move(run)),
      options_(std::move(options)),
      batch_(config::resolve_batch(run_.deepspeed, group_.size())) {
  comm::require_same(group_, "the resolved configuration", config::resolved_json(run_));
  use_threads(group_, run_.threads);
  ranks_on_host_ = local_ranks(group_);
  if (run_.deepspeed.zero.offload_param.device == config::Device::kNvme) return_freed_memory();
  memory::pool_tensors();
  watch_comm(group_, run_.deepspeed.comms_logger);
  if (!run_.rates.empty()) rates_ = plan::rates_from_json(io::read_text(run_.rates), run_.rates);
  if (run_.deepspeed.pipeline.partition == "measured")  // they say which blocks a stage holds
    comm::require_same(group_, run_.rates, plan::to_json(rates_));
  open_output();
  spec_ = load_spec();
  plan::check_positions(run_, spec_);
  require_disk();
  corpus_ = std::make_unique<Corpus>(prepare_corpus(group_, run_, spec_));
  model_ = make_model(group_, spec_, planned_options(), plan::compute_types(run_),
                      program_options(run_), division_of(run_, spec_));
  if (auto files = activation_files(run_))
    activations_ = std::make_unique<ActivationFiles>(*std::move(files), model_.engine->ledger());
  load_state();
  files_ = std::make_unique<FileMeter>(*model_.engine);
  if (run_.save_every > 0 && run_.save_buffer() > 0)
    saver_ = std::make_unique<checkpoint::Saver>(group_, save_options(),
                                                 static_cast<size_t>(run_.save_buffer()));
  observer_ = std::make_unique<Observer>(group_, run_, spec_,
                                         model_.stage ? model_.stage->held() : spec::HeldBlocks{});
  if (group_.rank() != 0) return;
  io::atomic_write(fs::path(run_.output) / "machine.json",
                   machine_json(group_.size(), at::get_num_threads(), options_.created_by));
  if (group_.size() > 1)
    log::info(std::to_string(group_.size()) + " ranks over " + group_.carrier());
  if (model_.stage) tell_of_stages();
  if (run_.deepspeed.sparse_gradients && spec_.tied_head)
    log::info(
        "sparse_gradients: no effect here: the head is the embedding, so every row has a "
        "gradient");
  if (run_.deepspeed.dump_state) log::info(config::resolved_json(run_));
  reporters_ =
      open_reporters(run_, resume_from_ ? std::optional(progress_) : std::nullopt, options_.json);
}

void Trainer::tell_of_stages() const {
  const auto shape = plan::shape_of(run_, batch_, spec_);
  const int stages = shape.pipeline.stages;
  log::info(std::to_string(stages) + " stages, " + std::to_string(batch_.accumulation_steps) +
            " micro-batches: they wait for each other " +
            std::to_string(std::lround(100 * plan::bubble(shape))) + " % of the time");
  if (batch_.accumulation_steps < stages)
    log::warn("fewer micro-batches than stages: raise gradient_accumulation_steps to " +
              std::to_string(stages) + " or more");
}

// Refuses to mix two runs in one folder; finds what to resume from.
void Trainer::open_output() {
  std::string found;
  on_first_rank(group_, "the output folder", [&] {
    const fs::path output = run_.output;
    if (fs::exists(output) && !fs::is_directory(output))
      throw Error(ExitCode::kConfig, "the output is not a folder", output.string(),
                  "choose another output");
    if (options_.resume) {
      if (!options_.resume->empty()) {
        found = checkpoint::deepspeed_folder(*options_.resume)
                    ? options_.resume->string()
                    : checkpoint::resolve(*options_.resume).string();
      } else if (const auto latest = checkpoint::latest_complete(checkpoints())) {
        found = latest->string();
      }
    } else if (fs::exists(output) && !fs::is_empty(output)) {
      throw Error(ExitCode::kConfig, "the output folder is not empty", output.string(),
                  "continue that run with --resume auto, or choose another output");
    }
    make_output(output);
    drop_flight_record(output);
    io::atomic_write(output / "run.json", config::resolved_json(run_));
  });
  found = group_.all_gather_text(found).front();
  if (!found.empty()) resume_from_ = found;
}

// A resumed run keeps its model, whatever the configuration says now: the weights fit that one
// only.
spec::ModelSpec Trainer::load_spec() {
  if (resume_from_) return checkpoint::ModelSource(*resume_from_).spec();
  auto spec = run_.model.from_scratch()
                  ? spec::model_spec_from_hf(run_.model.config_text(), run_.model.config_place())
                  : source_.emplace(run_.model.path).spec();
  return run_.model.classes > 0 ? spec::with_classes(std::move(spec), run_.model.classes) : spec;
}

// The default budget of stage 3 comes from the planner, which knows where a tied head needs the
// embedding again: what `plan` says is what the run does.
EngineOptions Trainer::planned_options() const {
  EngineOptions options = engine_options(run_, batch_);
  if (options.resident_bytes == 0) {
    auto shape = plan::shape_of(run_, batch_, spec_);
    shape.pipeline_stage = mesh::Mesh(division_of(run_, spec_).axes, group_.size())
                               .coordinate(group_.rank(), mesh::kPp);
    options.resident_bytes =
        plan::smallest_resident_bytes(plan::stage_of(plan::model_of(run_, spec_), shape), shape);
  }
  if (options.zenflow)
    options.zenflow->choice_interval = run_.deepspeed.zero.zenflow.choice_interval(
        corpus_->train->rows() / batch_.train_batch_size);
  return options;
}

void Trainer::load_state() {
  progress_.seed = static_cast<uint64_t>(run_.seed);
  if (resume_from_) {
    if (const auto folder = checkpoint::deepspeed_folder(*resume_from_)) {
      progress_ = restore(*model_.engine, checkpoint::DeepSpeedWeights(*folder), progress_.seed);
    } else {
      const checkpoint::Reader reader(*resume_from_);
      for (const char* file : {checkpoint::kModelFile, checkpoint::kOptimizerFile})
        if (reader.has(file)) checkpoint::require_intact(group_, reader, file);
      progress_ = restore(*model_.engine, reader);
    }
    last_checkpoint_ = resume_from_->string();
    written_before_ = progress_.bytes_written;
    if (group_.rank() == 0)
      log::info("resumed from " + last_checkpoint_ + " at step " + std::to_string(progress_.step));
  } else if (source_) {
    if (run_.model.classes > 0) {
      load_body(model_, *source_->weights(), progress_.seed);
    } else {
      load_weights(*model_.engine, *source_->weights());
    }
    source_.reset();
  } else {
    initialize(model_, progress_.seed);
  }
}

ExitCode Trainer::run() {
  try {
    return train();
  } catch (const EchoedError&) {
    throw;
  } catch (const Error& error) {
    if (error.code() == ExitCode::kNumeric) explain_failure(error);
    const bool of_peers = error.code() == ExitCode::kTimeout ||
                          error.code() == ExitCode::kPeerFailed || error.code() == ExitCode::kError;
    if (!of_peers || group_.size() == 1) throw;
    throw keep_flight_record(group_, run_.output, error);
  }
}

ExitCode Trainer::train() {
  StopRequest request(group_.rank() == 0);
  Stop stop = Stop::kNone;
  int64_t evaluated = -1, saved = progress_.step;
  while (progress_.step < run_.steps && stop == Stop::kNone) {
    const auto start = Clock::now();
    const auto before = group_.meter().snapshot();
    observer_->begin_step(progress_.step + 1);
    const StepResult result = train_step();
    wire_ = wire_bytes(group_.meter().snapshot() - before);
    const double seconds = seconds_between(start, Clock::now());
    record(result, seconds);
    stop = static_cast<Stop>(maximum(group_, static_cast<int64_t>(request.seen())));
    observer_->end_step(seconds);
    if (stop == Stop::kNone && budget_is_spent()) break;
    if (run_.eval_every > 0 && progress_.step % run_.eval_every == 0 &&
        evaluated != progress_.step) {
      evaluate();
      evaluated = progress_.step;
    }
    if (saver_) note_save([&] { return saver_->poll(); });
    if (run_.save_every > 0 && progress_.step % run_.save_every == 0 && saved != progress_.step &&
        progress_.step < run_.steps) {
      begin_save();
      saved = progress_.step;
    }
  }
  if (saver_) note_save([&] { return saver_->finish(); });
  if (stop != Stop::kNone) request.keep();
  const bool ended = progress_.step >= run_.steps;
  if (ended && stop == Stop::kNone && evaluated != progress_.step) evaluate();
  // An interrupt saves where checkpoints were asked for; SIGTERM always does, that is its point.
  if ((saved != progress_.step || save_failed_) &&
      (stop != Stop::kInterrupt || run_.save_every > 0))
    report_save(save_now());
  finish(last_checkpoint_);
  if (!ended && stop == Stop::kNone) end_of_budget();
  return stop == Stop::kInterrupt   ? ExitCode::kInterrupted
         : stop == Stop::kTerminate ? ExitCode::kRetryLater
                                    : ExitCode::kOk;
}

// Consecutive samples go to the ranks in turn: the order does not depend on how many there are.
models::Batch Trainer::micro_batch(int64_t micro) const {
  const comm::Activity doing(group_.flight_ring(), "data");
  const Share& share = model_.share;
  const int64_t first =
      progress_.samples + (micro * share.ranks + share.rank) * batch_.micro_batch_size;
  return parallel::part_of(corpus_->train->shuffled(progress_.seed, first, batch_.micro_batch_size),
                           share.part, share.parts);
}

// Before a boundary nothing changes that is being copied; where backward does, begin_save() waits.
StepResult Trainer::update(double& seconds) {
  const comm::Activity doing(group_.flight_ring(), "optimizer");
  const auto start = Clock::now();
  if (saver_ && model_.engine->at_boundary()) saver_->wait_for_copy();
  const StepResult result = model_.engine->step();
  seconds += seconds_between(start, Clock::now());
  return result;
}

StepResult Trainer::run_micro_batches(StepSeconds& seconds) {
  StepResult result;
  for (int64_t micro = 0; micro < batch_.accumulation_steps; ++micro) {
    const auto batch = micro_batch(micro);
    const auto start = Clock::now();
    const auto loss = batch_loss(*model_.program, batch, {run_.recompute, activations_.get()},
                                 &observer_->watch());
    const auto middle = Clock::now();
    backward(model_, loss, observer_->watch());
    seconds.forward += seconds_between(start, middle);
    seconds.backward += seconds_between(middle, Clock::now());
    result = update(seconds.update);
  }
  return result;
}

StepResult Trainer::run_pipeline(StepSeconds& seconds) {
  std::vector<models::Batch> batches(static_cast<size_t>(batch_.accumulation_steps));
  for (size_t micro = 0; micro < batches.size() && reads_batches(model_); ++micro)
    batches[micro] = micro_batch(static_cast<int64_t>(micro));
  const auto start = Clock::now();
  const StageSeconds worked =
      run_stage(model_, batches, {run_.recompute, activations_.get()}, &observer_->watch());
  seconds.forward = worked.forward;
  seconds.backward = worked.backward;
  seconds.waiting = seconds_between(start, Clock::now()) - worked.forward - worked.backward;
  return update(seconds.update);
}

StepResult Trainer::train_step() {
  step_first_sample_ = progress_.samples;
  StepSeconds seconds;
  const StepResult result = model_.stage ? run_pipeline(seconds) : run_micro_batches(seconds);
  count_written();
  phases_ = {{"forward", seconds.forward},
             {"backward", seconds.backward},
             {"backward_inner", seconds.backward - result.reduce_seconds},
             {"backward_allreduce", result.reduce_seconds},
             {"step", seconds.update}};
  if (model_.stage) phases_.emplace_back("pipeline_wait", seconds.waiting);
  ++progress_.attempts;
  progress_.samples += batch_.train_batch_size;
  progress_.step = model_.engine->steps();
  skipped_in_a_row_ = result.applied ? 0 : skipped_in_a_row_ + 1;
  require_finite(result);
  return result;
}

// fp16 skips such steps, within limits; a dynamic loss scale has one of its own.
void Trainer::require_finite(const StepResult& result) const {
  if (run_.deepspeed.scales_loss()) {
    if (skipped_in_a_row_ < kSkippedLimit || model_.engine->loss_scaler().dynamic()) return;
    throw Error(ExitCode::kNumeric,
                "the gradient was not finite " + std::to_string(kSkippedLimit) + " times in a row");
  }
  if (!result.applied) throw Error(ExitCode::kNumeric, "the gradient is not finite");
  if (!std::isfinite(result.loss)) throw Error(ExitCode::kNumeric, "the loss is not finite");
}

void Trainer::record(const StepResult& result, double seconds) {
  ++steps_here_;
  seconds_here_ += seconds;
  const double tokens = static_cast<double>(batch_.train_batch_size * run_.data.sequence_length);
  monitor::StepRecord record{.step = progress_.step,
                             .steps = run_.steps,
                             .samples = progress_.samples,
                             .loss = result.loss,
                             .grad_norm = result.gradient_norm,
                             .lr = result.learning_rate,
                             .tokens_per_second = tokens / seconds,
                             .step_seconds = seconds,
                             .skipped = !result.applied};
  if (run_.deepspeed.scales_loss()) record.loss_scale = result.loss_scale;
  record.mfu = observer_->mfu(seconds);
  record.phase_seconds = phases_;
  record.wire_bytes = wire_;
  auto files = files_->end_step(seconds);
  if (!files.bytes.empty()) {
    uint64_t read = 0, written = 0;
    for (const auto& [use, bytes] : files.bytes) (use.ends_with("_read") ? read : written) += bytes;
    record.disk = disk_rate(read, written, seconds);
    record.file_bytes = std::move(files.bytes);
    record.file_wait_seconds = std::move(files.waited);
  }
  record.memory_bytes = memory_bytes(model_.engine->ledger());
  reporters_.report(record);
}

void Trainer::evaluate() {
  const comm::Activity activity(group_.flight_ring(), "evaluation");
  files_->pause();
  for (const auto& held : corpus_->eval) {
    const auto result = train::evaluate(model_, *held.samples, batch_.micro_batch_size);
    reporters_.report(monitor::EvalRecord{.step = progress_.step,
                                          .samples = progress_.samples,
                                          .name = held.name,
                                          .loss = result.loss,
                                          .tokens = result.tokens,
                                          .accuracy = result.accuracy});
  }
}

void Trainer::finish(const std::string& checkpoint) {
  auto files = files_->mean_step();
  count_written();
  if (group_.rank() != 0) return;
  monitor::RunFigures measured{.memory_bytes = memory_bytes(model_.engine->ledger()),
                               .wire_bytes = wire_,
                               .file_bytes = std::move(files.bytes),
                               .step_seconds = {},
                               .bytes_written = progress_.bytes_written};
  if (steps_here_ > 0) measured.step_seconds = seconds_here_ / static_cast<double>(steps_here_);
  monitor::EndRecord end{
      .steps = progress_.step,
      .checkpoint = checkpoint,
      .predicted = forecast(run_, spec_, batch_, model_.engine->options(), rates_.machine),
      .measured = std::move(measured)};
  if (files.step_seconds > 0 && !end.measured->file_bytes.empty()) {
    end.disk = disk_rate(moved_bytes(files.counters, false), moved_bytes(files.counters, true),
                         files.step_seconds);
    end.advice = file_advice(files, *end.disk);
  }
  reporters_.report(end);
  if (run_.deepspeed.comms_logger.enabled)
    for (const auto& line : comm::timing_lines(group_.meter().timings().rows())) log::info(line);
}

}  // namespace hydrofoil::train
