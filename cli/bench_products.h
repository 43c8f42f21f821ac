// SPDX-License-Identifier: Apache-2.0
// hydrofoil bench products: how fast each library multiplies the matrices of training here.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/command_line.h"

namespace hydrofoil::cli {

constexpr const char* kBenchProductsHelp =
    "Time the matrix products of training by each library, against multiply-adds in registers";

void add_bench_products(CLI::App& bench, Action& action);

}  // namespace hydrofoil::cli
