// SPDX-License-Identifier: Apache-2.0
// The run file: everything `hydrofoil train`, `plan` and `config` need, in one value.
//
//   RunConfig run = load_run("run.json", {"steps=10", "deepspeed.zero_optimization.stage=3"});
//   BatchSizes batch = resolve_batch(run.deepspeed, ranks);
//
// A relative path is relative to the file it is written in; one from the command line, to the
// current folder. Version 1 freezes the defaults below and inherits DeepSpeed's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/config/batch.h"
#include "hydrofoil/config/deepspeed.h"
#include "hydrofoil/config/fields.h"

namespace hydrofoil::config {

struct ModelConfig {
  std::string
      path;      // a Hugging Face folder, a GGUF file or a checkpoint; empty: start from `config`
  Value config;  // a Hugging Face config.json, inline; null: from `path`
  int64_t classes = 0;  // an encoder gets a new head for so many classes; 0: its own head
  bool from_scratch() const { return path.empty(); }
  // The text for spec::model_spec_from_hf, and where it was written. from_scratch() only.
  std::string config_text() const { return dump_json(config, 0); }
  std::string config_place() const { return config.place.text(); }
  void visit(Reader& f);
};

struct DataConfig {
  std::vector<std::string> train;  // text files
  std::vector<std::string> eval;
  int64_t sequence_length = 256;  // tokens
  void visit(Reader& f);
};

struct CommConfig {
  std::string backend = "auto";  // comm::ConnectOptions::backend
  void visit(Reader& f);
};

// A timeline of steps, in <output>/trace.json.
struct TraceConfig {
  int64_t steps = 0;       // 0: none
  int64_t first_step = 3;  // after the start of the program: the first ones are not typical
  void visit(Reader& f);
};

// What operators compute in. kAuto: bf16 where parameters are bf16 and the processor multiplies it.
enum class ComputeType : uint8_t { kAuto, kF32, kBF16 };

struct RunConfig {
  int64_t version = 1;
  ModelConfig model;
  std::string tokenizer;  // folder or tokenizer.json; empty: the model's, else trained on the data
  DataConfig data;
  int64_t steps = 500;  // optimizer steps
  int64_t seed = 1;
  std::string output;
  int64_t save_every = 0;  // steps; 0: at the end only
  int64_t keep = 2;        // newest checkpoints that stay
  std::optional<int64_t> save_buffer_bytes;
  std::optional<int64_t> max_bytes_written;        // to disks, in the whole run
  int64_t file_piece_elements = int64_t{1} << 20;  // of state in files
  std::string rates;       // of this machine: a file by `plan --tune --write`; empty: not known
  int64_t eval_every = 0;  // steps; 0: at the end only
  std::string prometheus_file;  // empty: none
  TraceConfig trace;
  double average_decay = 0;          // of the moving average of the weights; 0: none
  bool stochastic_rounding = false;  // of what rests in bf16 without an fp32 copy
  bool recompute = false;            // keep only block inputs for backward
  int64_t mlp_rows = 0;              // tokens that a feed-forward works on at a time; 0: all
  std::string activation_path;       // in files of this folder; empty: in memory
  ComputeType compute_dtype = ComputeType::kAuto;
  int64_t threads = 0;  // per rank; 0: cores / local ranks
  std::optional<int64_t> resident_parameter_bytes;
  bool update_in_backward = false;
  int64_t unit_elements = 0;  // of a unit of parameters, at most; 0: a block
  MeshConfig mesh;
  CommConfig comm;
  DeepSpeedConfig deepspeed;

  // Stage 3: parameters a rank may hold gathered at once; 0: the smallest that serves well.
  int64_t resident_bytes() const;
  // Each block is updated during backward. Asked for here or by DeepSpeed's super_offload, and
  // nothing needs all gradients first.
  bool updates_in_backward() const;
  bool activations_in_files() const { return recompute && !activation_path.empty(); }
  // What a rank may copy so that a save goes on beside training; 0: training waits for the disk.
  int64_t save_buffer() const;
  // Stage 3: parameters gathered ahead of their use; 0: none.
  int64_t prefetch_bytes() const;
  void visit(Reader& f);
  void visit_records(Reader& f);
  void visit_dependent(Reader& f);
  bool can_take_back() const;
  std::string why_not_in_backward() const;
};

enum class FileKind : uint8_t { kRun, kDeepSpeed };
FileKind kind_of(const Value& document);

// The document of a run file or a DeepSpeed file with "a.b=c" overrides applied and the files it
// names ("deepspeed", "model.config") read in. Error(kConfig), Error(kUsage) for an override
// without '='.
Value load_document(const std::string& path, std::span<const std::string> overrides = {});

// Reads a run document; what is wrong goes to `report`, sorted by place.
RunConfig read_run(Value document, Report& report);

// The usual way in: Error(kConfig) of the first problem.
RunConfig load_run(const std::string& path, std::span<const std::string> overrides = {});

struct RunFlags {  // `train --model M --data T --deepspeed ds.json`
  std::string model;
  std::vector<std::string> data;
  std::string deepspeed;  // a file, base64, or empty
};
RunConfig run_from_flags(const RunFlags& flags, std::span<const std::string> overrides = {});

// The complete effective configuration as JSON with sorted sections and no places: stored with run
// and checkpoint, compared between ranks. Reading it again gives the same run.
std::string resolved_json(const RunConfig& run);

}  // namespace hydrofoil::config
