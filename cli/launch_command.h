// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/command_line.h"

namespace hydrofoil::cli {

// hydrofoil launch --ranks N PROGRAM [ARGUMENTS..]
void add_launch_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
