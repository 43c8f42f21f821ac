// SPDX-License-Identifier: Apache-2.0
// hydrofoil bench adam: how fast this machine updates parameters.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/command_line.h"

namespace hydrofoil::cli {

void add_bench_adam(CLI::App& bench, Action& action);

}  // namespace hydrofoil::cli
