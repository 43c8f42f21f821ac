// SPDX-License-Identifier: Apache-2.0
// hydrofoil embed MODEL: texts as vectors.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/command_line.h"

namespace hydrofoil::cli {

void add_embed_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
