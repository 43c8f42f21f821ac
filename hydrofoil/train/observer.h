// SPDX-License-Identifier: Apache-2.0
// Looks at the steps of a run: keeps the flight record current, records timelines.
#pragma once

#include <memory>
#include <optional>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/monitor/trace_file.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/train/timeline.h"
#include "hydrofoil/train/unit_watch.h"

namespace hydrofoil::train {

class Observer {
 public:
  Observer(comm::Communicator group, const config::RunConfig& run, const spec::ModelSpec& spec);

  UnitWatch& watch() { return watch_; }
  // Around every step, by all ranks; end_step is collective where the step is looked at.
  void begin_step(int64_t step);
  void end_step();

 private:
  bool traced() const;
  void write_trace(const std::vector<monitor::TraceEvent>& events);

  const comm::Communicator group_;
  const config::RunConfig& run_;
  Timeline timeline_;
  ActivityWatch watch_;
  std::optional<comm::Activity> step_;
  std::unique_ptr<monitor::TraceFile> trace_;  // of rank 0
  int64_t steps_here_ = 0;                     // begun since the start of the program
};

}  // namespace hydrofoil::train
