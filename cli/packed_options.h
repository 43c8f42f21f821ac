// SPDX-License-Identifier: Apache-2.0
// How the commands that run decoders, and the plan of one, keep weights, keys and values.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace hydrofoil::cli {

struct PackedArguments {
  std::string type = "auto";   // of matrices: inference::kWeightTypes
  std::string cache = "bf16";  // of keys and values: inference::kCacheTypes
};
struct PackedOptions {
  CLI::Option *type, *cache;
};
PackedOptions add_packed_options(CLI::App* command, PackedArguments& arguments);

}  // namespace hydrofoil::cli
