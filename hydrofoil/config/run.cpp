// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/run.h"

#include <filesystem>
#include <limits>

#include "hydrofoil/config/overrides.h"
#include "hydrofoil/config/sections.h"
#include "hydrofoil/config/tree.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::config {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBytesPerElement = 4;

// Of fp32 elements; people write sys.maxsize for "no limit".
int64_t bytes_of(int64_t elements) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  return elements > kMost / kBytesPerElement ? kMost : elements * kBytesPerElement;
}

void embed_files(Value& document) {
  if (Value* deepspeed = document.find("deepspeed"); deepspeed && deepspeed->is_string()) {
    *deepspeed = load_deepspeed_string(*deepspeed);
  }
  Value* model = document.find("model");
  Value* config = model != nullptr ? model->find("config") : nullptr;
  if (config != nullptr && config->is_string()) {
    fs::path path = config->string();
    if (config->place.in_text()) path = fs::path(*config->place.source).parent_path() / path;
    *config = read_json_file(path.lexically_normal().string());
  }
}

// Keys that must say something, and what they say together.
void check_run(const RunConfig& run, Report& report, const Place& place) {
  const bool both = !run.model.path.empty() && !run.model.config.is_null();
  const Row* config = report.find("model.config");
  if (both) {
    report.add("model.path and model.config are both set", config->place,
               "path continues a model, config starts from scratch: keep one of them");
  } else if (run.model.path.empty() && run.model.config.is_null()) {
    report.add("the run has no model", place, "set model.path or model.config");
  } else if (run.model.path.empty() && !run.model.config.is_object()) {
    report.add("model.config: expected a Hugging Face config {..} or the name of one, got " +
                   describe(run.model.config),
               config->place);
  }
  if (run.data.train.empty()) {
    report.add("the run has no data", place, "set data.train to a list of text files");
  }
  if (!run.prometheus_file.empty() && !run.prometheus_file.ends_with(".prom")) {
    report.add("prometheus_file does not end with .prom: the textfile collector reads no others",
               report.find("prometheus_file")->place);
  }
  if (run.average_decay > 0 && run.deepspeed.zero.zenflow.on) {
    report.add("average_decay: ZenFlow updates the weights in parts, of which no average is kept",
               report.find("average_decay")->place, "remove one of them");
  }
  if (run.comm.backend == "tuned" && run.deepspeed.zero.offload_param.device == Device::kNvme) {
    report.add(
        "comm.backend: ranks of one host read each other's parameters from files, which "
        "\"tuned\" does not promise",
        report.find("comm.backend")->place, "take \"auto\"");
  }
}

// Keys of DeepSpeed that stand beside "deepspeed" are a frequent slip; say where they belong.
void hint_at_section(Report& report) {
  const Report known = describe_fields(DeepSpeedConfig());
  for (Problem& problem : report.problems) {
    constexpr std::string_view kUnknown = "unknown key ";
    if (!problem.message.starts_with(kUnknown)) continue;
    const std::string key =
        problem.message.substr(kUnknown.size() + 1, problem.message.size() - kUnknown.size() - 2);
    if (known.find(key) != nullptr) problem.hint = "it belongs into the section \"deepspeed\"";
  }
}

std::string default_output(const Value& document, const RunConfig& run) {
  if (document.place.in_text()) {
    const fs::path file = *document.place.source;
    return (file.parent_path() / "runs" / file.stem()).lexically_normal().string();
  }
  fs::path model = fs::path(run.model.path).lexically_normal();
  if (!model.has_filename()) model = model.parent_path();
  return (fs::path("runs") / (model.empty() ? fs::path("run") : model.filename())).string();
}

}  // namespace

void ModelConfig::visit(Reader& f) {
  f.field({.name = "path",
           .help = "a Hugging Face folder, a GGUF file or a checkpoint to go on from",
           .path = true},
          path);
  f.field({.name = "config",
           .help = "a Hugging Face config, inline or a file name: start from scratch"},
          config);
  f.field({.name = "classes",
           .help = "give an encoder a new head that names one of so many classes; data are .jsonl "
                   "or .tsv files with labels. 0: the head it has",
           .unit = "classes",
           .min = 0,
           .max = 1 << 20},
          classes);
}

void DataConfig::visit(Reader& f) {
  f.field({.name = "train",
           .help = "text files to train on; for classifiers .jsonl (text, label) or .tsv",
           .path = true},
          train);
  f.field({.name = "eval", .help = "such files to evaluate on", .path = true}, eval);
  f.field({.name = "sequence_length",
           .help = "length of one packed sequence",
           .unit = "tokens",
           .min = 1,
           .max = 1 << 24},
          sequence_length);
}

void CommConfig::visit(Reader& f) {
  f.field(
      {.name = "backend",
       .help =
           "what ranks talk over; auto: shm on one host, on several shm inside each and "
           "mpi (under mpirun) or gloo between them; tuned: whichever of them was measured to be "
           "quickest, by operation and size",
       .choices =
           {{"auto"}, {"tuned"}, {"shm"}, {"mpi"}, {"gloo"}, {"nccl"}, {"shm+mpi"}, {"shm+gloo"}}},
      backend);
}

void TraceConfig::visit(Reader& f) {
  f.field({.name = "steps", .help = "how many; 0: none", .unit = "steps", .min = 0, .max = 1000},
          steps);
  f.field({.name = "first_step",
           .help = "the first of them, counted from the start of the program",
           .unit = "steps",
           .min = 1},
          first_step);
}

// What a run leaves behind, and how often.
void RunConfig::visit_records(Reader& f) {
  f.field({.name = "output",
           .help = "folder of checkpoints, figures and the resolved configuration",
           .default_text = "runs/<name of the run file>, beside it",
           .path = true},
          output);
  f.field({.name = "save_every",
           .help = "a checkpoint every so many steps; 0: at the end only",
           .unit = "steps",
           .min = 0},
          save_every);
  f.field({.name = "keep", .help = "newest checkpoints that stay", .unit = "checkpoints", .min = 1},
          keep);
  f.field({.name = "save_buffer_bytes",
           .help = "memory that a rank may take for a copy of its part of a checkpoint, so that "
                   "training goes on while it is written; 0: training waits for the disk",
           .unit = "bytes",
           .min = 0,
           .idle = save_every > 0 ? "" : "nothing goes on beside the last checkpoint",
           .default_text = "deepspeed.datastates_ckpt.host_cache_size, else 1 GiB"},
          save_buffer_bytes);
  f.field({.name = "max_bytes_written",
           .help = "to spare a disk that wears out: what all ranks together may write to state in "
                   "files and to checkpoints in the whole run, resumed or not; a run that would "
                   "write more is refused, one that gets there saves and ends",
           .unit = "bytes",
           .min = 0,
           .default_text = "no limit"},
          max_bytes_written);
  f.field({.name = "eval_every",
           .help = "evaluate every so many steps; 0: at the end only",
           .unit = "steps",
           .min = 0},
          eval_every);
  f.field(
      {.name = "rates",
       .help = "what this machine reaches, a file that 'hydrofoil plan --tune --write' made: for "
               "the times of plans, and what a run's disks could do",
       .default_text = "not known",
       .path = true},
      rates);
  f.field({.name = "prometheus_file",
           .help = "a file NAME.prom in the folder of the node exporter's textfile collector: the "
                   "figures of the newest step, for Prometheus",
           .default_text = "none",
           .path = true},
          prometheus_file);
  f.section(
      {.name = "trace", .help = "a timeline of some steps, <output>/trace.json in Chrome's format"},
      trace);
}

void RunConfig::visit(Reader& f) {
  f.field({.name = "version", .help = "freezes the defaults", .min = 1, .max = 1}, version);
  f.section({.name = "model", .help = "what is trained"}, model);
  f.field({.name = "tokenizer",
           .help = "a folder or tokenizer.json",
           .default_text = "the model's, else one trained on data.train",
           .path = true},
          tokenizer);
  f.section({.name = "data", .help = "what it is trained on"}, data);
  f.field({.name = "steps", .help = "optimizer steps", .unit = "steps", .min = 0}, steps);
  f.field({.name = "seed", .help = "of initial weights and of the order of the data", .min = 0},
          seed);
  visit_records(f);
  f.field({.name = "average_decay",
           .help = "keep a moving average of the weights in fp32, saved with checkpoints for "
                   "--average of eval, generate and convert, e.g. 0.999; 0: none",
           .min = 0,
           .max = 0.999999999},
          average_decay);
  f.field({.name = "recompute",
           .help = "keep only the inputs of blocks and run their forward again in backward"},
          recompute);
  f.field({.name = "mlp_rows",
           .help = "tokens of a micro-batch that a feed-forward works on at a time, run again in "
                   "backward: for long sequences; 0: all at once",
           .unit = "tokens",
           .min = 0},
          mlp_rows);
  f.field(
      {.name = "activation_path",
       .help = "a folder on a local disk, where these inputs wait for backward; nothing is left "
               "in it",
       .idle = recompute ? "" : "nothing is recomputed",
       .default_text = "none: they wait in memory",
       .path = true},
      activation_path);
  f.field({.name = "threads",
           .help = "compute threads of a rank; 0: cores / local ranks",
           .unit = "threads",
           .min = 0,
           .max = 4096},
          threads);
  f.section({.name = "mesh", .help = "axes of the ranks"}, mesh);
  f.section({.name = "comm", .help = "how ranks reach each other"}, comm);
  f.section({.name = "deepspeed", .help = "DeepSpeed's JSON, inline or a file name"}, deepspeed);
  visit_dependent(f);
}

// What some of DeepSpeed's keys make effective: read after them.
void RunConfig::visit_dependent(Reader& f) {
  const bool files = deepspeed.zero.offload_optimizer.device == Device::kNvme ||
                     deepspeed.zero.offload_param.device == Device::kNvme;
  f.field({.name = "file_piece_elements",
           .help = "what of an array of numbers is read, checked and written at once where state "
                   "lies in files, rounded up to a multiple of 4096",
           .unit = "elements",
           .min = 4096,
           .max = int64_t{1} << 30,
           .idle = files ? "" : "nothing lies in files"},
          file_piece_elements);
  f.field({.name = "stochastic_rounding",
           .help = "round weights and moments that rest in bf16 without an fp32 copy up or down by "
                   "chance, so that small updates add up; a function of seed, step and element",
           .idle = deepspeed.bf16.master_weights_and_grads
                       ? ""
                       : "all of them are fp32: see bf16.bf16_master_weights_and_grads"},
          stochastic_rounding);
  f.field({.name = "compute_dtype",
           .help = "what operators compute in; \"auto\": bf16 where parameters are bf16 and the "
                   "processor multiplies it, else fp32",
           .choices = {{"auto"}, {"fp32"}, {"bf16"}},
           .idle = deepspeed.bf16.enabled ? "" : "parameters are not bf16: computed in fp32"},
          compute_dtype);
  f.field({.name = "resident_parameter_bytes",
           .help = "stage 3: parameters a rank may hold gathered at once",
           .unit = "bytes",
           .min = 0,
           .idle = deepspeed.zero.stage == 3 ? "" : "used at stage 3",
           .default_text = "4 x stage3_max_live_parameters, else the smallest that serves well"},
          resident_parameter_bytes);
  f.field({.name = "unit_elements",
           .help = "the most parameters that are gathered, released and reduced together, and the "
                   "rows of token embedding and head that are used at a time; at least one matrix. "
                   "0: a block of the model, and the embedding as a whole",
           .unit = "elements",
           .min = 0},
          unit_elements);
  f.field({.name = "update_in_backward",
           .help = "update each block during the last backward of a step, as soon as its gradient "
                   "is complete: gradients of two or three blocks, not of all, take memory; where "
                   "not all states lie in files (of twice the size then), nothing may be clipped, "
                   "and a gradient that is not finite may leave a step half done",
           .idle = why_not_in_backward()},
          update_in_backward);
}

std::string RunConfig::why_not_in_backward() const {
  if (!can_take_back()) {
    if (deepspeed.gradient_clipping > 0)
      return "gradient_clipping needs the norm of all gradients first, where not all states lie in "
             "files";
    if (deepspeed.scales_loss())
      return "fp16 looks for an overflow in all gradients first, where not all states lie in files";
  }
  if (deepspeed.optimizer.type == OptimizerType::kLamb) return "Lamb measures all tensors first";
  if (deepspeed.zero.zenflow.on) return "ZenFlow gathers gradients over several steps";
  return {};
}

// What an update writes over lies in files, or is rounded from what does.
bool RunConfig::can_take_back() const {
  const auto& states = deepspeed.zero.offload_optimizer;
  const bool parameters = deepspeed.zero.offload_param.device == Device::kNvme;
  return states.device == Device::kNvme && states.ratio == 1 &&
         (parameters || (deepspeed.parameter_dtype() != DType::kF32 && deepspeed.keeps_master()));
}

bool RunConfig::updates_in_backward() const {
  return (update_in_backward || deepspeed.zero.offload_optimizer.super_offload) &&
         why_not_in_backward().empty();
}

int64_t RunConfig::resident_bytes() const {
  return resident_parameter_bytes.value_or(
      bytes_of(deepspeed.zero.max_live_parameters.value_or(0)));
}

int64_t RunConfig::save_buffer() const {
  return save_buffer_bytes.value_or(deepspeed.host_cache_gigabytes.value_or(1) << 30);
}

int64_t RunConfig::prefetch_bytes() const {
  return bytes_of(deepspeed.zero.prefetch_elements.value_or(0));
}

FileKind kind_of(const Value& document) {
  for (const char* key : {"version", "model", "data", "deepspeed", "steps", "output"}) {
    if (document.find(key) != nullptr) return FileKind::kRun;
  }
  const bool empty = !document.is_object() || document.object().empty();
  return empty ? FileKind::kRun : FileKind::kDeepSpeed;
}

Value load_document(const std::string& path, std::span<const std::string> overrides) {
  Value document = read_json_file(path);
  const std::vector<Override> parsed = parse_overrides(overrides);
  // A new "deepspeed" or "model.config" first, then keys inside of what they name.
  apply_overrides(document, parsed, [](const std::string& key) {
    return key == "deepspeed" || key == "model.config";
  });
  embed_files(document);
  apply_overrides(document, parsed, [](const std::string& key) {
    return key != "deepspeed" && key != "model.config";
  });
  return document;
}

RunConfig read_run(Value document, Report& report) {
  if (Value* deepspeed = document.find("deepspeed")) modernise(*deepspeed, report, "deepspeed");
  RunConfig run;
  read(run, document, report);
  merge_mesh(run, report);
  check_pipeline(run, report);
  check_run(run, report, document.place);
  check_combinations(run.deepspeed, report, "deepspeed");
  hint_at_section(report);
  if (run.output.empty()) run.output = default_output(document, run);
  report.sort_problems();
  return run;
}

RunConfig load_run(const std::string& path, std::span<const std::string> overrides) {
  const Value document = load_document(path, overrides);
  if (kind_of(document) == FileKind::kDeepSpeed) {
    throw Error(ExitCode::kConfig, "this is a DeepSpeed file, not a run file", path,
                "use --model M --data T --deepspeed " + path +
                    ", or name it as \"deepspeed\" in a run file");
  }
  Report report;
  const RunConfig run = read_run(document, report);
  report.throw_first();
  return run;
}

RunConfig run_from_flags(const RunFlags& flags, std::span<const std::string> overrides) {
  const Place place = command_line_place();
  Value document = make_object();
  document.place = place;
  Value model = make_object();
  // A JSON file is a config to start from; a folder or a GGUF file holds a model.
  std::error_code ignored;
  const bool config = std::filesystem::is_regular_file(flags.model, ignored) &&
                      std::filesystem::path(flags.model).extension() != ".gguf";
  model.set(config ? "config" : "path", make_string(flags.model, place));
  document.set("model", std::move(model));
  Value files;
  Value::Array names;
  for (const std::string& name : flags.data) names.push_back(make_string(name, place));
  files.data = std::move(names);
  Value data = make_object();
  data.set("train", std::move(files));
  document.set("data", std::move(data));
  if (!flags.deepspeed.empty()) document.set("deepspeed", make_string(flags.deepspeed, place));
  embed_files(document);
  apply_overrides(document, parse_overrides(overrides), [](const std::string&) { return true; });
  Report report;
  const RunConfig run = read_run(document, report);
  report.throw_first();
  return run;
}

std::string resolved_json(const RunConfig& run) {
  Value tree = make_object();
  for (const Row& row : describe_fields(run).rows) {
    if (row.path.starts_with("deepspeed.mesh")) continue;  // one place for it: the run's own
    if (!row.stored || !row.key.not_here.empty() || row.value.is_null()) continue;
    set_path(tree, row.path, row.value);
  }
  return dump_json(tree);
}

}  // namespace hydrofoil::config
