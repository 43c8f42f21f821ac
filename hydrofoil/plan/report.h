// SPDX-License-Identifier: Apache-2.0
// Everything that is known of a run before it begins, for people and for scripts.
//
//   const auto model = plan::model_of(spec::model_spec_from_hf(text, path));
//   const auto report = plan::make_report(model, {.ranks = 2, .stage = 3}, {}, {host::memory(),
//   2}); std::cout << plan::to_text(report);
#pragma once

#include <string>
#include <vector>

#include "hydrofoil/monitor/reporter.h"
#include "hydrofoil/plan/deepspeed_view.h"
#include "hydrofoil/plan/file_plan.h"
#include "hydrofoil/plan/fit.h"
#include "hydrofoil/plan/memory_plan.h"
#include "hydrofoil/plan/model.h"
#include "hydrofoil/plan/time_plan.h"
#include "hydrofoil/plan/wire_plan.h"

namespace hydrofoil::plan {

// One stage of a pipeline.
struct StageReport {
  size_t first_block = 0, end_block = 0;  // of its first chunk
  size_t parameters = 0;
  uint64_t peak_bytes = 0;
};

struct Report {
  RunShape run;  // of a pipeline: as the stage that needs most memory, which `memory` is of
  int ranks_on_host = 1;
  std::string family;  // empty: not known
  size_t parameters = 0, units = 0;
  std::vector<StageReport> stages = {};  // of a pipeline
  double bubble = 0;                     // of all stages' time, that in which they wait
  MemoryPlan memory;
  WirePlan wire;  // of rank 0
  FilePlan files;
  TimePlan time;
  DeepSpeedView deepspeed;
  Fit fit;
};

Report make_report(const Model& model, const RunShape& run, const Machine& machine,
                   const Host& host);

std::string to_text(const Report& report);  // lines, at most 100 columns
std::string to_json(const Report& report);  // one line

// What `train` reports as predicted.
monitor::RunFigures figures(const Report& report);

}  // namespace hydrofoil::plan
