// SPDX-License-Identifier: Apache-2.0
// hydrofoil plan --inference MODEL: what serving a model takes, and how fast it can be at most.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "cli/packed_options.h"

namespace hydrofoil::cli {

struct InferencePlanArguments {
  std::string model;  // empty: a run is planned
  PackedArguments packed;
  int64_t context = 0, batch = 1;
};
// Also `--inference` itself, which it returns.
CLI::Option* add_inference_plan_options(CLI::App* command, InferencePlanArguments& arguments);

// How fast this machine is, of plan's other options. 0, empty: not said.
struct SpeedArguments {
  std::string rates;  // a file of `plan --tune --write`
  double gflops = 0, memory_gbps = 0, disk_gbps = 0;
  bool tune = false;  // measured, by this process
};
int plan_inference(const InferencePlanArguments& arguments, const SpeedArguments& speed, bool json);

}  // namespace hydrofoil::cli
