// SPDX-License-Identifier: Apache-2.0
// hydrofoil bench: how fast this machine does what a run will ask of it.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/command_line.h"

namespace hydrofoil::cli {

void add_bench_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
