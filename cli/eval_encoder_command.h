// SPDX-License-Identifier: Apache-2.0
// hydrofoil eval of encoders and classifiers, which need libtorch (eval_command.h has the rest).
#pragma once

#include "cli/command_line.h"

namespace hydrofoil::cli {

void add_eval_encoder_command(CLI::App& app, Action& action);

}  // namespace hydrofoil::cli
