// SPDX-License-Identifier: Apache-2.0
// `hydrofoil report`: a run as one HTML page.
#pragma once

#include "cli/command_line.h"

namespace hydrofoil::cli {

void add_report_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
