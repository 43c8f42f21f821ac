// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/log.h"

#include <unistd.h>

#include <string>

namespace hydrofoil::log {
namespace {

// Process-wide on purpose: standard error is.
Level current = Level::kInfo;
std::string shown_prefix;

// One write a line, so that the lines of several ranks do not mix.
void put(std::string_view kind, std::string_view line) {
  std::string text = "hydrofoil: ";
  if (!shown_prefix.empty()) text.append("[").append(shown_prefix).append("] ");
  text.append(kind).append(line).append("\n");
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

void configure(Level level, std::string_view prefix) {
  current = level;
  shown_prefix = prefix;
}

void info(std::string_view line) {
  if (current != Level::kQuiet) put("", line);
}
void warn(std::string_view line) {
  put("warning: ", line);
}
void debug(std::string_view line) {
  if (current == Level::kDebug) put("debug: ", line);
}

}  // namespace hydrofoil::log
