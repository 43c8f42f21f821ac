// SPDX-License-Identifier: Apache-2.0
// What every command shares: parsing, and how errors reach people and scripts (docs/errors.md).
//
// A command is one file with one function, which adds its options to the app and, when chosen, sets
// the action to run:
//
//   void add_plan_command(CLI::App& app, std::function<int()>& action);
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <span>
#include <string_view>

namespace hydrofoil::cli {

using Action = std::function<int()>;  // returns the exit code

// "hydrofoil 0.1.0 (38ce865c0f6b, Release, libtorch 2.13.0+cpu)"
const char* version_line();

// The words after the program's name.
using Arguments = std::span<char* const>;
bool has_flag(Arguments arguments, std::string_view flag);

// Runs `body` and turns whatever it throws into one line on standard error, with `json` also one
// object on standard output, and into the exit code of the error.
int run_reporting_errors(bool json, const Action& body);

// Parses the arguments, then runs the action that the chosen command has set. Prints help and
// version itself. Error(kUsage) for what does not parse.
int parse_and_run(CLI::App& app, const Action& action, Arguments arguments);

}  // namespace hydrofoil::cli
