// SPDX-License-Identifier: Apache-2.0
// hydrofoil bench train: how fast this machine trains, where the time goes, and beside whom.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/command_line.h"

namespace hydrofoil::cli {

constexpr const char* kBenchTrainHelp =
    "Time training steps of a known shape: tokens/s, share of the machine's limits, by kind of "
    "work";

void add_bench_train(CLI::App& bench, Action& action);

}  // namespace hydrofoil::cli
