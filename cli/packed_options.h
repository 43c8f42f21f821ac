// SPDX-License-Identifier: Apache-2.0
// How the commands that run decoders, and the plan of one, keep weights, keys and values.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <string>

namespace hydrofoil::cli {

struct PackedArguments {
  std::string type = "auto";       // of matrices: inference::kWeightTypes
  std::string cache = "bf16";      // of keys and values: inference::kCacheTypes
  uint64_t memory_cap = 0;         // of the program; layers that do not fit are streamed. 0: none
  std::string stream_folder = {};  // from there; empty: that of the model
};
struct PackedOptions {
  CLI::Option *type, *cache, *memory_cap, *stream_folder;
};
// --type, a name of inference::kWeightTypes.
CLI::Option* add_weight_type(CLI::App* command, std::string& type);
PackedOptions add_packed_options(CLI::App* command, PackedArguments& arguments);
// That layers of this model are streamed from.
std::filesystem::path stream_folder(const PackedArguments& arguments,
                                    const std::filesystem::path& model);

}  // namespace hydrofoil::cli
