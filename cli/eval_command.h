// SPDX-License-Identifier: Apache-2.0
// hydrofoil eval: how well a model foresees a text, or which of several answers is right. Decoders
// run without libtorch.
#pragma once

#include "cli/command_line.h"

namespace hydrofoil::cli {

// encoder: what evaluates encoders and classifiers, with the same command line.
void add_eval_command(CLI::App& app, Action& action, Action encoder);

}  // namespace hydrofoil::cli
