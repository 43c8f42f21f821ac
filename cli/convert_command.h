// SPDX-License-Identifier: Apache-2.0
// `hydrofoil convert`: a model of any format as a Hugging Face folder or a GGUF file.
#pragma once

#include "cli/command_line.h"

namespace hydrofoil::cli {

void add_convert_command(CLI::App& app, Action& action);
// The same of a checkpoint: `hydrofoil checkpoint export`.
void add_export_command(CLI::App& checkpoint, Action& action);

}  // namespace hydrofoil::cli
