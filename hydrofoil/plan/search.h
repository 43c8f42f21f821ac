// SPDX-License-Identifier: Apache-2.0
// The best meshes for a run: every way to divide its ranks into stages, replicas, parts of
// sequences and of matrices, at every ZeRO stage, under every schedule, with every micro-batch that
// keeps the batch of a step, with and without recomputation.
//
//   const Search found = search({.ranks = 64, .load = load, .spec = spec, .machine = machine,
//                                .memory_bytes = 80'000'000'000});
//   found.best.front().settings;  // "mesh.pp=4", ..: what makes the run so
//
// A candidate's step cannot be shorter than what its busiest rank does, with the time until that
// begins and from its end on (least_seconds). Candidates are looked at in that order, planned
// exactly (plan_memory, plan_time), until no other can be among the best: what is left out is
// slower.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hydrofoil/config/run.h"
#include "hydrofoil/plan/links.h"
#include "hydrofoil/plan/model.h"
#include "hydrofoil/plan/rates.h"
#include "hydrofoil/plan/stage_time.h"
#include "hydrofoil/plan/time_plan.h"

namespace hydrofoil::plan {

struct SearchRequest {
  int ranks = 1;
  // The run's configuration with these "a.b=c"; Error for what cannot be.
  std::function<config::RunConfig(const std::vector<std::string>& settings)> load;
  spec::ModelSpec spec;
  Machine machine;            // with compute known: flops_per_second
  uint64_t memory_bytes = 0;  // that a rank may use
  size_t most = 10;           // meshes to find
};

struct Found {
  std::vector<std::string> settings;  // after --set
  RunShape run;
  uint64_t peak_bytes = 0;  // of the rank that needs most
  TimePlan time = {};
  LinkBytes received = {};  // in a step, by the rank that receives most
  double bubble() const { return time.bubble_seconds / time.total_seconds(); }
  mesh::Sizes mesh() const { return run.mesh(); }
};

struct Search {
  std::vector<Found> best = {};     // one a mesh, the fastest first
  int64_t batch = 0;                // sequences of a step, of all of them
  size_t tried = 0, too_large = 0;  // ways; of them, looked at and found to need more memory
  size_t refused = 0;               // meshes that cannot be
  std::string refusal = {};         // the last reason
};

// Error(kConfig) where the configuration cannot be planned on so many ranks, or rates are missing.
Search search(const SearchRequest& request);

// All ways that are tried, in no order.
std::vector<RunShape> candidates(const SearchRequest& request);
// No step of this run is shorter.
double least_seconds(const std::vector<StageTime>& stages, const RunShape& run);

std::string to_text(const Search& search);  // lines, at most 100 columns
std::string to_json(const Search& search);  // one line

}  // namespace hydrofoil::plan
