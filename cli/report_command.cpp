// SPDX-License-Identifier: Apache-2.0
#include "cli/report_command.h"

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include "hydrofoil/io/file.h"
#include "hydrofoil/monitor/run_report.h"

namespace hydrofoil::cli {
namespace {

struct ReportArguments {
  std::string run, output;
  bool json = false;
};

int report(const ReportArguments& arguments) {
  const auto run = monitor::read_run_folder(arguments.run);
  const std::filesystem::path page = arguments.output.empty()
                                         ? std::filesystem::path(arguments.run) / "report.html"
                                         : std::filesystem::path(arguments.output);
  io::atomic_write(page, monitor::html_report(run));
  std::cout << (arguments.json ? monitor::json_report(run) : page.string()) << "\n";
  return 0;
}

}  // namespace

void add_report_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("report", "Show a run as one HTML page");
  auto arguments = std::make_shared<ReportArguments>();
  command->add_option("RUN", arguments->run, "output folder of a run, also of one under way")
      ->required();
  command->add_option("--output", arguments->output, "the page; default: RUN/report.html");
  command->add_flag("--json", arguments->json, "its figures as one JSON object on standard output");
  command->footer("Example:\n  hydrofoil report runs/first");
  command->callback([&action, arguments] { action = [arguments] { return report(*arguments); }; });
}

}  // namespace hydrofoil::cli
