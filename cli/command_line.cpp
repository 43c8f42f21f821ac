// SPDX-License-Identifier: Apache-2.0
#include "cli/command_line.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"

namespace hydrofoil::cli {
namespace {

int report(bool json, const Error& error) {
  const int code = static_cast<int>(error.code());
  if (json) {
    const nlohmann::ordered_json event{{"event", "error"},
                                       {"code", code},
                                       {"message", error.what()},
                                       {"where", error.where()},
                                       {"hint", error.hint()}};
    // A message may quote a broken file: bytes that are no UTF-8 are replaced, not thrown at.
    std::cout << event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
  }
  std::string line = "hydrofoil: error: " + error.line();
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fprintf(stderr, "%s\n", line.c_str());
  return code;
}

// Results that did not reach their file are no success.
void flush_output() {
  std::cout.flush();
  if (std::fflush(stdout) != 0 || !std::cout)
    throw Error(ExitCode::kError, "standard output could not be written", {},
                "is the disk full or the reader gone?");
}

// "see hydrofoil bench comm --help", for the innermost command that was named.
std::string help_hint(const CLI::App& app) {
  std::string words = "see hydrofoil";
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    words += " " + at->get_name();
  }
  return words + " --help";
}

}  // namespace

bool has_flag(Arguments arguments, std::string_view flag) {
  return std::any_of(arguments.begin(), arguments.end(),
                     [&](const char* word) { return flag == word; });
}

int run_reporting_errors(bool json, const Action& body) {
  try {
    const int code = body();
    flush_output();
    return code;
  } catch (const Error& error) {
    return report(json, error);
  } catch (const std::bad_alloc&) {
    return report(json, Error(ExitCode::kDoesNotFit, "out of memory", {},
                              "hydrofoil plan says what a run needs"));
  } catch (const std::exception& error) {
    return report(json, Error(ExitCode::kError, error.what()));
  }
}

int parse_and_run(CLI::App& app, const Action& action, Arguments arguments) {
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(std::move(reversed));
  } catch (const CLI::Success& wanted) {  // help, version
    return app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    throw Error(ExitCode::kUsage, error.what(), {}, help_hint(app));
  }
  return action();
}

}  // namespace hydrofoil::cli
