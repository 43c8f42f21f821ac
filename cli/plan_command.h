// SPDX-License-Identifier: Apache-2.0
// hydrofoil plan: what a run or serving a model will need, and with --tune what this machine
// reaches.
#pragma once

#include <functional>
#include <string>

#include "cli/command_line.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/plan/rates.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::cli {

// What `--tune` asks for: so many ranks measure, and rank 0 goes on with what they found. Needs
// libtorch, so the program leaves it to the library of training commands.
using Tuner =
    std::function<int(int ranks, const config::RunConfig& run, const spec::ModelSpec& spec,
                      const std::function<int(const plan::Rates&)>& then)>;

void add_plan_command(CLI::App& app, Action& action, Tuner tune = {});

}  // namespace hydrofoil::cli
