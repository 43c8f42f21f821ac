// SPDX-License-Identifier: Apache-2.0
// hydrofoil doctor: what this machine is, what this build is, and what a run would use.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/command_line.h"

namespace hydrofoil::cli {

void add_doctor_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
