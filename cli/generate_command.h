// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/command_line.h"

namespace hydrofoil::cli {

// hydrofoil generate MODEL --prompt TEXT [--max-tokens N]
void add_generate_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
