// SPDX-License-Identifier: Apache-2.0
// `hydrofoil replay`: runs a step whose numbers were not finite again, on one rank.
#pragma once

#include "cli/command_line.h"

namespace hydrofoil::cli {

void add_replay_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
