// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/command_line.h"

namespace hydrofoil::cli {

// hydrofoil train RUN.json [--ranks N] [--resume auto]
void add_train_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
