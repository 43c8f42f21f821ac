// SPDX-License-Identifier: Apache-2.0
// hydrofoil config check | explain | schema: what the keys of a file mean here.
#pragma once

#include "cli/command_line.h"

namespace hydrofoil::cli {

void add_config_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
