// SPDX-License-Identifier: Apache-2.0
// One step of a run, all its ranks on simulated links: who waits for whom. No tensors, no ranks;
// thousands of them take milliseconds.
//
//   const Links links(run, machine);
//   const auto times = stage_times(model, run, machine, links);
//   const uint64_t bytes = message_bytes(model, run);
//   simulate(times, run, links, bytes).seconds;                             // as planned
//   simulate(times, run, links, bytes, std::array{Disturbance{.rank = 17, .slowness = 1.5}});
//
// Ranks do the tasks of their stage's schedule. What a task exchanges (sums of tensor ranks,
// all-to-alls, and gradients where they are reduced after every micro-batch) is part of it, and all
// who take part end it together. Messages between stages travel beside other work. At the end
// gradients are reduced, all agree on the norm, each updates, and parameters are gathered.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/plan/stage_time.h"

namespace hydrofoil::plan {

struct Disturbance {
  int rank = 0;
  double slowness = 1;  // times as long for everything
  // Seconds after the step's begin: the task under way never ends.
  double stops_at = std::numeric_limits<double>::infinity();
};

struct Simulation {
  double seconds = 0;  // of the step; infinite: it never ends
  // Of every rank, or where nothing is disturbed of one rank of each stage.
  struct Rank {
    double busy = 0;  // in tasks, as long as they take alone
    double last = 0;  // when its last task ended
    double waited() const { return last - busy; }
  };
  std::vector<Rank> ranks;
};
// `stages`: stage_times; `message_bytes`: of a micro-batch between two of them.
Simulation simulate(std::span<const StageTime> stages, const RunShape& run, const Links& links,
                    uint64_t message_bytes, std::span<const Disturbance> disturbances = {});

// Beside what was planned without disturbances.
std::string to_text(const Simulation& simulation, double planned_seconds);  // lines
std::string to_json(const Simulation& simulation, double planned_seconds);  // one line

}  // namespace hydrofoil::plan
