// SPDX-License-Identifier: Apache-2.0
// The commands that need libtorch: named here for help, run by libhydrofoil_train.so.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <string_view>

#include "cli/command_line.h"

namespace hydrofoil::cli {

// Of a command line: its first word, or what it asks for (plan --tune).
bool is_torch_command(Arguments arguments);

// All of them, for a sentence: "train, replay, .. and bench products".
std::string torch_command_names();

// Lists them in the help of the program.
void add_torch_commands(CLI::App& app);

// Of the library: beside the program, in lib/ or ../lib. Error(kError) when there is none.
std::filesystem::path torch_library_path();

// A C function of the library, which is loaded for it. Takes most of a second, which is why most
// commands do without. Error(kError) when it cannot be loaded.
void* torch_function(const char* name);

// Hands the library the command line.
int run_torch_command(int argc, char** argv);

}  // namespace hydrofoil::cli
