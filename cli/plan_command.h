// SPDX-License-Identifier: Apache-2.0
// hydrofoil plan: memory, traffic and time of a run, and whether it fits, without running it.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/command_line.h"

namespace hydrofoil::cli {

void add_plan_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
