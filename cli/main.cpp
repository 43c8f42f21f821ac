// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include "cli/bench_command.h"
#include "cli/chat_command.h"
#include "cli/checkpoint_command.h"
#include "cli/command_line.h"
#include "cli/config_command.h"
#include "cli/convert_command.h"
#include "cli/doctor_command.h"
#include "cli/embed_command.h"
#include "cli/eval_command.h"
#include "cli/generate_command.h"
#include "cli/launch_command.h"
#include "cli/plan_command.h"
#include "cli/report_command.h"
#include "cli/torch_library.h"
#include "hydrofoil/config/suggest.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::cli {
namespace {

void add_commands(CLI::App& app, Action& action, const Action& torch_command) {
  add_torch_commands(app);
  add_launch_command(app, action);
  add_embed_command(app, action);
  add_eval_command(app, action, torch_command);
  add_generate_command(app, action);
  add_chat_command(app, action);
  add_plan_command(app, action);
  add_report_command(app, action);
  add_checkpoint_command(app, action);
  add_convert_command(app, action);
  add_config_command(app, action);
  add_doctor_command(app, action);
  add_bench_command(app, action);
}

void require_known_command(CLI::App& app, const std::string& word) {
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands({})) known.push_back(command->get_name());
  if (std::find(known.begin(), known.end(), word) != known.end()) return;
  const auto meant = config::nearest(word, known);
  throw Error(ExitCode::kUsage, "'" + word + "' is no command", {},
              meant ? "did you mean '" + *meant + "'?" : "hydrofoil --help lists them");
}

int run(int argc, char** argv) {
  const Arguments arguments(argv + 1, static_cast<size_t>(argc - 1));
  const std::string first = arguments.empty() ? "" : arguments.front();
  if (is_torch_command(arguments)) return run_torch_command(argc, argv);

  CLI::App app{"Trains, plans, inspects and runs transformer models on any number of ranks."};
  app.name("hydrofoil");
  app.set_version_flag("--version", version_line());
  app.footer("hydrofoil COMMAND --help says more. Exit codes: docs/errors.md.");
  Action action;
  add_commands(app, action, [argc, argv] { return run_torch_command(argc, argv); });
  if (first.empty())
    throw Error(ExitCode::kUsage, "no command given", {}, "hydrofoil --help lists them");
  if (!first.starts_with("-")) require_known_command(app, first);
  app.require_subcommand(1);
  return parse_and_run(app, action, arguments);
}

}  // namespace
}  // namespace hydrofoil::cli

int main(int argc, char** argv) {
  using namespace hydrofoil::cli;
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is an error that names it, no death
  const Arguments arguments(argv + 1, static_cast<size_t>(argc - 1));
  return run_reporting_errors(has_flag(arguments, "--json"), [&] { return run(argc, argv); });
}
