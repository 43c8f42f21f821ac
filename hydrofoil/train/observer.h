// SPDX-License-Identifier: Apache-2.0
// Looks at the steps of a run: keeps the flight record current, records timelines, profiles a step.
#pragma once

#include <memory>
#include <optional>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/monitor/trace_file.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/spec/units.h"
#include "hydrofoil/train/profile.h"
#include "hydrofoil/train/timeline.h"
#include "hydrofoil/train/unit_watch.h"

namespace hydrofoil::train {

class Observer {
 public:
  // `held`: the blocks of this rank; empty: all.
  Observer(comm::Communicator group, const config::RunConfig& run, const spec::ModelSpec& spec,
           const spec::HeldBlocks& held = {});

  UnitWatch& watch() { return watch_; }
  // Around every step, by all ranks; end_step is collective where the step is looked at.
  void begin_step(int64_t step);
  void end_step(double seconds);
  // Fraction of what matrix products reach here, for a step of `seconds`; once a step was profiled.
  std::optional<double> mfu(double seconds) const;

 private:
  bool traced() const;
  bool profiled() const;
  int64_t tokens() const;  // of this rank, a step
  void write_profile(const std::vector<monitor::TraceEvent>& events, double seconds);
  void write_trace(const std::vector<monitor::TraceEvent>& events);

  const comm::Communicator group_;
  const config::RunConfig& run_;
  Timeline timeline_;
  ActivityWatch watch_;
  const std::vector<UnitCost> units_;
  std::optional<comm::Activity> step_;
  double peak_flops_ = 0;                      // a second, of this rank; 0: not measured
  std::unique_ptr<monitor::TraceFile> trace_;  // of rank 0
  int64_t steps_here_ = 0;                     // begun since the start of the program
  int64_t step_number_ = 0;
};

}  // namespace hydrofoil::train
