// SPDX-License-Identifier: Apache-2.0
#include "cli/launch_command.h"

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "hydrofoil/comm/supervisor.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::cli {
namespace {

namespace fs = std::filesystem;

// As a shell would find it.
std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return fs::absolute(name).string();
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (fs::exists(fs::path(folder) / name)) return (fs::path(folder) / name).string();
  throw Error(ExitCode::kUsage, "no such program", name, "give its path");
}

}  // namespace

void add_launch_command(CLI::App& app, Action& action) {
  struct LaunchArguments {
    int ranks = 1;
    std::vector<std::string> command;
  };
  auto* command = app.add_subcommand("launch", "Start a program of yours on several local ranks");
  auto arguments = std::make_shared<LaunchArguments>();
  command->add_option("--ranks", arguments->ranks, "processes to start on this host")
      ->check(CLI::Range(1, 64))
      ->required();
  command->add_option("PROGRAM", arguments->command, "the program and its arguments")->required();
  command->positionals_at_end();
  command->prefix_command();
  command->footer(
      "The program finds its rank by comm::detect. When one rank fails, the others are ended.\n"
      "Example:\n  hydrofoil launch --ranks 2 build/examples/wrap_module");
  command->callback([&action, command, arguments] {
    for (const auto& word : command->remaining()) arguments->command.push_back(word);
    action = [arguments] {
      return comm::supervise({.ranks = arguments->ranks,
                              .argv = arguments->command,
                              .environment = {},
                              .program = find_program(arguments->command.front())});
    };
  });
}

}  // namespace hydrofoil::cli
