// SPDX-License-Identifier: Apache-2.0
// DeepSpeed's JSON as users have it: every key is known, and each is honoured, mapped, without
// effect here, or refused by name. What this version honours has a member below.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/config/fields.h"
#include "hydrofoil/core/dtype.h"

namespace hydrofoil::config {

enum class Device : uint8_t { kNone, kCpu, kNvme };

struct OffloadConfig {
  Device device = Device::kNone;
  std::string nvme_path = {};  // a folder, for kNvme
  int64_t buffer_count = 4;    // pieces of the file in memory at once
  double ratio = 1.0;          // of the state that goes to the device
  bool super_offload = false;  // update during backward
  void visit_optimizer(Reader& f);
  void visit_parameters(Reader& f);
};

// Reads and writes of files: how a transfer is cut, and how many blocks are under way.
struct AioConfig {
  int64_t block_size = int64_t{1} << 20;  // bytes
  int64_t queue_depth = 8;
  int64_t threads = 1;  // that keep a queue each under way
  void visit(Reader& f, const std::string& idle);
};

// The columns of matrices that matter most are updated in every step, the rest now and then.
struct ZenflowConfig {
  enum class Strategy : uint8_t { kAuto, kStep, kEpoch };
  bool on = false;          // "enabled": the section is there
  double topk_ratio = 0.1;  // of columns
  Strategy select_strategy = Strategy::kAuto;
  std::optional<int64_t> select_interval;  // steps or epochs; kAuto: one epoch
  std::optional<int64_t> update_interval;  // steps; none: it follows the gradients
  double auto_ratio = 0.99;
  int64_t full_warm_up_rounds = 0;  // steps
  // Steps between choices, 0 for one choice.
  int64_t choice_interval(int64_t steps_per_epoch) const;
  void visit(Reader& f);
};

struct ZeroConfig {
  int64_t stage =
      0;  // what is kept as slices: 1 optimizer state, 2 and gradients, 3 and parameters
  OffloadConfig offload_param{.buffer_count = 5};
  OffloadConfig offload_optimizer;
  std::optional<int64_t> max_live_parameters;  // elements gathered at once, stage 3
  std::optional<int64_t> prefetch_elements;    // gathered ahead of their use, stage 3
  ZenflowConfig zenflow;
  // What gradients are sliced by: ZenFlow slices them at stage 1, too.
  int64_t effective_stage() const { return zenflow.on && stage == 1 ? 2 : stage; }
  void visit(Reader& f);
};

enum class OptimizerType : uint8_t { kAdamW, kAdam, kSgd, kLamb, kLion, kAdagrad };

struct OptimizerConfig {
  OptimizerType type = OptimizerType::kAdamW;
  double lr = 3e-4;
  std::array<double, 2> betas{0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0.0;
  bool bias_correction = true;
  bool adam_w_mode = true;                  // Adam: decoupled weight decay, as DeepSpeed has it
  double momentum = 0.0;                    // SGD
  bool nesterov = false;                    // SGD
  double min_coeff = 0.01, max_coeff = 10;  // Lamb: bounds of the trust ratio
  bool eps_inside_sqrt = false;             // Lamb
  double lr_decay = 0.0;                    // Adagrad
  double initial_accumulator_value = 0.0;   // Adagrad
  // What optim::make_rule knows the type as.
  std::string rule() const;
  // Whether the type has that key among its params.
  bool has(std::string_view param) const;
  // Weight decay is applied to the parameter itself, not added to its gradient.
  bool decoupled_weight_decay() const {
    return type == OptimizerType::kAdamW || (type == OptimizerType::kAdam && adam_w_mode);
  }
  void visit(Reader& f);
  void visit_parameters(Reader& f);
  void visit_adam(Reader& f);
  void visit_others(Reader& f);
  std::string unless_has(std::string_view param) const;
};

enum class SchedulerType : uint8_t {
  kConstant,
  kWarmupLR,
  kWarmupDecayLR,
  kWarmupCosineLR,
  kOneCycle,
  kLRRangeTest,
  kCosine,  // ours: linear warm-up, then half a cosine
};
enum class WarmupType : uint8_t { kLog, kLinear };

struct OneCycleConfig {
  double min_lr = 0.0, max_lr = 1e-3;
  double decay_lr_rate = 0.0;
  int64_t first_step_size = 2000;           // steps
  std::optional<int64_t> second_step_size;  // steps; none: as the first
  std::optional<int64_t> first_stair_count, second_stair_count;
  int64_t decay_step_size = 0;  // steps; 0: no decay
  bool cycle_momentum = true;
  double min_mom = 0.8, max_mom = 0.9;
  double decay_mom_rate = 0.0;
  void visit(Reader& f, const std::string& not_here);
};

struct RangeTestConfig {
  double min_lr = 1e-3;
  int64_t step_size = 2000;  // steps
  double step_rate = 1.0;
  bool staircase = false;
  void visit(Reader& f, const std::string& not_here);
};

struct SchedulerConfig {
  SchedulerType type = SchedulerType::kConstant;
  double warmup_min_lr = 0.0;
  std::optional<double> warmup_max_lr;  // none: the optimizer's lr
  int64_t warmup_num_steps = 1000;
  WarmupType warmup_type = WarmupType::kLog;
  std::optional<int64_t> total_num_steps;  // none: the steps of the run
  double warmup_min_ratio = 0.0;
  double cos_min_ratio = 1e-4;
  OneCycleConfig one_cycle;
  RangeTestConfig range_test;
  void visit(Reader& f);
  void visit_parameters(Reader& f);
};

// csv_monitor, tensorboard: figures of every step as <output_path>/<job_name>.
struct MonitorConfig {
  bool enabled = false;
  std::string output_path;  // empty: the output folder of the run
  std::string job_name = "DeepSpeedJobName";
  void visit(Reader& f);
};

// How long calls between ranks take, by operation and size of the message.
struct CommsLogger {
  bool enabled = false;
  bool verbose = false;               // each call as a line, too
  bool prof_all = true;               // all operations, or those of prof_ops
  std::vector<std::string> prof_ops;  // names, DeepSpeed's or ours
  void visit(Reader& f);
};

struct FlopsProfilerConfig {
  bool enabled = false;
  int64_t profile_step = 1;   // after the start of the program
  int64_t module_depth = -1;  // 0: the whole model; else every unit
  bool detailed = true;       // false: the whole model
  std::string output_file;    // empty: standard error
  void visit(Reader& f);
};

// One batch for many numbers of ranks: elastic.h.
struct ElasticityConfig {
  bool enabled = false;
  int64_t max_train_batch_size = 2000;                 // sequences
  std::vector<int64_t> micro_batch_sizes = {2, 4, 6};  // sequences; not empty
  int64_t min_gpus = 1, max_gpus = 10000;              // ranks
  double version = 0.2;
  bool prefer_larger_batch = true;
  bool ignore_non_elastic_batch_info = false;
  int64_t num_gpus_per_node = 1, model_parallel_size = 1;  // version 0.2
  void visit(Reader& f);

 private:
  void visit_nodes(Reader& f, const std::string& off);
};

// How ranks are laid out (mesh/mesh.h). Axes that are not here have one rank.
struct MeshConfig {
  std::optional<int64_t> dp;  // data parallel; none: what the others leave
  int64_t pp = 1;             // stages of a pipeline
  int64_t sp = 1;             // ranks that share a sequence
  int64_t tp = 1;             // ranks that share the model's matrices
  // All but dp, with their names.
  std::vector<std::pair<std::string, int64_t>> model_axes() const {
    return {{"mesh.pp", pp}, {"mesh.sp", sp}, {"mesh.tp", tp}};
  }
  void visit(Reader& f);
};

// Other names of mesh.tp.
struct TensorParallelConfig {
  int64_t autotp_size = 0;  // 0: not said
  int64_t tp_size = 1;
  void visit(Reader& f);
};

// How the stages of mesh.pp divide the model and take turns (parallel/stages.h).
struct PipelineConfig {
  enum class Schedule : uint8_t { kOneForwardOneBackward, kGPipe, kInterleaved, kZeroBubble };
  int64_t stages = 1;  // mesh.pp by another name
  std::string partition = "best";
  Schedule schedule = Schedule::kOneForwardOneBackward;
  int64_t chunks = 2;                          // of a stage, where they are interleaved
  int64_t activation_checkpoint_interval = 0;  // not 0: the run's `recompute`
  void visit(Reader& f);
};

// A floating-point type where one may be asked for.
enum class FloatType : uint8_t { kAuto, kF32, kBF16, kF16 };

struct Bf16Config {
  bool enabled = false;
  bool master_weights_and_grads = false;  // no fp32 copies; gradients add up in bf16
  bool optimizer_states = false;          // in bf16
  void visit(Reader& f);
};

struct Fp16Config {
  bool enabled = false;
  double loss_scale = 0;  // 0: dynamic
  int64_t initial_scale_power = 16;
  int64_t loss_scale_window = 1000;  // steps
  int64_t hysteresis = 2;            // overflows
  bool consecutive_hysteresis = false;
  double min_loss_scale = 1;
  bool master_weights_and_grads = false;  // no fp32 copies; gradients add up in fp16
  void visit(Reader& f);
};

// Products in 16 bits beside all else in fp32. Weights and biases of Linear modules rest and travel
// so, with fp32 master copies; their gradients travel so.
struct AutocastConfig {
  enum class Type : uint8_t { kBF16, kF16 };
  bool enabled = false;
  Type type = Type::kBF16;
  std::vector<std::string> safe_modules = {"torch.nn.Linear", "torch.nn.Conv1d", "torch.nn.Conv2d",
                                           "torch.nn.Conv3d"};
  DType dtype() const { return type == Type::kBF16 ? DType::kBF16 : DType::kF16; }
  void visit(Reader& f);
};

struct DeepSpeedConfig {
  std::optional<int64_t> train_batch_size;                // sequences, all ranks, one step
  std::optional<int64_t> train_micro_batch_size_per_gpu;  // sequences
  std::optional<int64_t> gradient_accumulation_steps;
  std::string batch_place;         // where the first of the three was written
  double gradient_clipping = 1.0;  // largest global L2 norm; 0: none
  std::optional<int64_t> steps_per_print;
  OptimizerConfig optimizer;
  SchedulerConfig scheduler;
  ZeroConfig zero;
  AioConfig aio;
  Fp16Config fp16;
  Bf16Config bf16;
  AutocastConfig autocast;
  FloatType communication_type = FloatType::kAuto;  // gradients on the wire
  bool sparse_gradients = false;                    // of embeddings, stage 0
  FloatType accumulation_type = FloatType::kAuto;   // gradients of micro-batches
  std::optional<int64_t> host_cache_gigabytes;      // datastates_ckpt.host_cache_size
  MonitorConfig csv_monitor, tensorboard;
  CommsLogger comms_logger;
  FlopsProfilerConfig flops_profiler;
  bool wall_clock_breakdown = false;   // print where the time of a step went
  bool memory_breakdown = false;       // print memory by category
  bool dump_state = false;             // print the resolved configuration
  int64_t sequence_parallel_size = 1;  // mesh.sp by another name
  MeshConfig mesh;
  TensorParallelConfig tensor_parallel;
  PipelineConfig pipeline;
  ElasticityConfig elasticity;

  // What parameters rest and travel in.
  DType parameter_dtype() const {
    return fp16.enabled ? DType::kF16 : bf16.enabled ? DType::kBF16 : DType::kF32;
  }
  bool scales_loss() const {  // for the range of fp16
    return fp16.enabled || (autocast.enabled && autocast.dtype() == DType::kF16);
  }
  bool keeps_master() const;     // fp32 copies of 16-bit parameters
  DType gradient_dtype() const;  // what gradients add up in
  DType wire_dtype() const;      // what they travel in
  DType state_dtype() const;     // what optimizer states rest in
  void visit(Reader& f);

 private:
  void visit_batch(Reader& f);
  void visit_gradients(Reader& f);
  std::string idle_sparse_gradients() const;
  void visit_precision(Reader& f);
  void visit_bookkeeping(Reader& f);
};

// Structural legacy of DeepSpeed, rewritten to today's keys before reading: zero_optimization as a
// bool, cpu_offload and its kin. `path` is that of `document` ("" or "deepspeed").
void modernise(Value& document, Report& report, const std::string& path);

// A DeepSpeed configuration: `document` is normalised and read, combinations are checked, problems
// are sorted in `report`.
DeepSpeedConfig read_deepspeed(Value document, Report& report, const std::string& path = {});
// What keys say together; both sides must have been read.
void check_combinations(const DeepSpeedConfig& config, Report& report, const std::string& path);

// The text of a "config string" as DeepSpeed accepts it: a file name, or base64 of the text itself.
// Relative names are looked up beside the file in which `text` is written.
Value load_deepspeed_string(const Value& text);

}  // namespace hydrofoil::config
