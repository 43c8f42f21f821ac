// SPDX-License-Identifier: Apache-2.0
// Monitors, profilers, activation checkpointing and checkpoint keys.
#include "hydrofoil/config/deepspeed.h"
#include "hydrofoil/config/sections.h"

namespace hydrofoil::config {
namespace {

using enum Status;

const char* const kUseOthers = "use tensorboard, csv_monitor, or 'train --json'";

}  // namespace

void visit_monitors(Reader& f) {
  visit_unbuilt(f, {.name = "wandb",
                    .what = "writing to Weights & Biases",
                    .instead = kUseOthers,
                    .gate = "enabled",
                    .keys = {{"enabled", "false"},
                             {"group", "null"},
                             {"team", "null"},
                             {"project", "\"deepspeed\""}}});
  visit_unbuilt(f, {.name = "comet",
                    .what = "writing to Comet",
                    .instead = kUseOthers,
                    .gate = "enabled",
                    .keys = {{"enabled", "false"},
                             {"samples_log_interval", "100", "samples"},
                             {"project", "null"},
                             {"workspace", "null"},
                             {"api_key", "null"},
                             {"experiment_name", "null"},
                             {"experiment_key", "null"},
                             {"online", "null"},
                             {"mode", "null"}}});
}

void CommsLogger::visit(Reader& f) {
  f.field({.name = "enabled", .help = "a table of all calls between ranks at the end of a run"},
          enabled);
  f.field({.name = "verbose", .help = "each call is a line, too"}, verbose);
  f.unstored({.name = "debug", .status = kNoEffect, .why = "calls have names: see 'verbose'"},
             "false");
  f.field({.name = "prof_all", .help = "all operations; else those of prof_ops"}, prof_all);
  f.field({.name = "prof_ops", .help = "names of operations, for prof_all false"}, prof_ops);
}

void FlopsProfilerConfig::visit(Reader& f) {
  f.field({.name = "enabled", .help = "profile one step"}, enabled);
  f.field({.name = "profile_step",
           .help = "which, counted from the start of the program",
           .unit = "steps",
           .min = 1},
          profile_step);
  f.field({.name = "module_depth", .help = "0: the whole model only; else every unit", .min = -1},
          module_depth);
  f.field({.name = "detailed", .help = "false: the whole model only"}, detailed);
  f.field({.name = "output_file",
           .help = "where the table goes",
           .default_text = "standard error",
           .path = true},
          output_file);
  f.unstored({.name = "top_modules",
              .status = kNoEffect,
              .why = "every unit has its line: there is nothing to pick the largest from"},
             "1");
  f.unstored({.name = "recompute_fwd_factor",
              .status = kNoEffect,
              .why = "what is recomputed is measured"},
             "0.0");
}

void visit_activation_checkpointing(Reader& f) {
  const std::string one = "every layer is one: turn it on with 'recompute' of the run file";
  const std::string buffer = "inputs of layers are freed one by one: there is nothing to reserve";
  f.enter({.name = "activation_checkpointing", .status = kNoEffect, .why = one});
  f.ignored("partition_activations", "false",
            "without tensor parallelism no other rank holds a copy of them");
  f.ignored("cpu_checkpointing", "false",
            "ranks run on the CPU, so they are there; 'activation_path' of the run file moves them "
            "to a disk");
  f.ignored("contiguous_memory_optimization", "false", buffer);
  f.unstored({.name = "number_checkpoints", .status = kNoEffect, .why = buffer}, "null",
             Type::kInteger);
  f.ignored("synchronize_checkpoint_boundary", "false", "a CPU has no stream to wait for");
  f.ignored("profile", "false", "'trace' of the run file shows every recomputation");
  f.leave();
}

void visit_checkpoint(Reader& f) {
  const char* one = "a checkpoint is written once, by all ranks together";
  f.enter({.name = "checkpoint", .help = "how checkpoints are written"});
  f.unstored({.name = "tag_validation",
              .help = "what to do when ranks disagree on the name of a checkpoint",
              .choices = {{"Warn", kNoEffect, "ranks cannot disagree: the name is the step"},
                          {"Ignore", kNoEffect, "ranks cannot disagree: the name is the step"},
                          {"Fail", kNoEffect, "ranks cannot disagree: the name is the step"}}},
             "\"Warn\"");
  f.ignored("load_universal", "false", "every checkpoint loads on any number of ranks");
  f.unstored({.name = "use_node_local_storage",
              .status = kRefused,
              .why = "a checkpoint is one folder that all ranks see; remove it"},
             "false");
  f.ignored("checkpoint_serialization", "true", one);
  f.enter({.name = "parallel_write", .status = kNoEffect, .why = one});
  f.ignored("pipeline_stage", "false", "all ranks write their parts at the same time");
  f.leave();
  f.enter({.name = "writer", .status = kNoEffect, .why = one});
  f.ignored("type", "\"FAST\"", one);
  f.ignored("io_buffer_size", "67108864", one);
  f.ignored("io_buffer_double", "true", one);
  f.ignored("io_multiplier", "1", one);
  f.ignored("show_statistics", "false", one);
  f.unstored({.name = "data_parallel", .status = kNoEffect, .why = one}, "null", Type::kString);
  f.ignored("decoupled", "false", "'save_buffer_bytes' of the run file says it");
  f.leave();
  f.leave();
}

}  // namespace hydrofoil::config
