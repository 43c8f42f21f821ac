// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/command_line.h"

namespace hydrofoil::cli {

// hydrofoil eval MODEL --text FILE
void add_eval_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
