// SPDX-License-Identifier: Apache-2.0
// What a run has left in its output folder, read back for reports.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hydrofoil::monitor {

using Figures = std::map<std::string, double>;

struct StepRow {  // nan: was not finite, or is not there
  int64_t step = 0, samples = 0;
  double loss = 0, grad_norm = 0, lr = 0, tokens_per_second = 0, step_seconds = 0;
  Figures phase_seconds, wire_bytes, memory_bytes, file_bytes;
  bool skipped = false;
};
struct EvalRow {
  int64_t step = 0;
  std::string name;
  double loss = 0, perplexity = 0;
};
struct SavedRow {
  int64_t step = 0;
  std::string checkpoint;
};
struct TraceRow {  // of the last traced step
  int rank = 0, track = 0;
  std::string name, category;
  double begin_us = 0, duration_us = 0;  // begin: since the step began
};

struct RunFolder {
  std::string name;  // of the folder
  std::vector<StepRow> steps;
  std::vector<EvalRow> evals;
  std::vector<SavedRow> saves;
  int64_t steps_of_run = 0;
  bool ended = false;
  Figures planned_memory, planned_wire, planned_files;  // of a run that has ended
  Figures measured_files;                               // a step: its mean
  std::string advice;  // what would help most, where state lies in files
  std::string config;  // run.json as it is
  std::vector<std::pair<std::string, std::string>> machine;
  std::string traced_step;  // "step 5"; empty: none
  std::vector<TraceRow> trace;
  std::vector<std::pair<int, std::map<int, std::string>>> tracks;  // by rank: names
  std::string failure;             // finding.json's or flight.json's line
  std::vector<std::string> notes;  // what could not be read
};

// Partial where the run is: a missing or damaged file becomes a note. Error(kData) for a folder
// that is no output of a run.
RunFolder read_run_folder(const std::filesystem::path& output);

}  // namespace hydrofoil::monitor
