// SPDX-License-Identifier: Apache-2.0
#include "cli/replay_command.h"

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/train/numeric_failure.h"

namespace hydrofoil::cli {
namespace {

struct ReplayArguments {
  std::string run;
  int threads = 0;
  bool json = false;
};

int replay(const ReplayArguments& arguments) {
  const int threads = arguments.threads > 0 ? arguments.threads : host::usable_cores();
  const auto result = train::replay(arguments.run, threads);
  if (arguments.json) {
    std::cout << nlohmann::ordered_json{{"step", result.step},
                                        {"found", result.found},
                                        {"recorded", result.recorded},
                                        {"reproduced", result.reproduced()}}
                     .dump()
              << "\n";
  } else {
    std::cout << "step " << result.step << ": " << result.found << "\n"
              << (result.reproduced() ? "as the run found it" : "the run found: " + result.recorded)
              << "\n";
  }
  return static_cast<int>(result.reproduced() ? ExitCode::kNumeric : ExitCode::kOk);
}

}  // namespace

void add_replay_command(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("replay", "Run a step whose numbers were not finite again, on one rank");
  auto arguments = std::make_shared<ReplayArguments>();
  command->add_option("RUN", arguments->run, "output folder of a run that ended with code 7")
      ->required();
  command->add_option("--threads", arguments->threads, "compute threads; 0: all cores")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "one JSON object on standard output");
  command->footer(
      "Ends with 7 when the step gives the same finding again, with 0 when it does not.\n"
      "Example:\n  hydrofoil replay runs/first");
  command->callback([&action, arguments] { action = [arguments] { return replay(*arguments); }; });
}

}  // namespace hydrofoil::cli
