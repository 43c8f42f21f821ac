// SPDX-License-Identifier: Apache-2.0
// Lines on standard error for people; never on standard output, which belongs to results.
#pragma once

#include <string_view>

namespace hydrofoil::log {

enum class Level { kQuiet, kInfo, kDebug };

// Ranks above 0 are usually quiet; prefix is shown before each line ("rank 1").
void configure(Level level, std::string_view prefix = {});

void info(std::string_view line);   // "hydrofoil: line"
void warn(std::string_view line);   // "hydrofoil: warning: line", also when quiet
void debug(std::string_view line);  // only at kDebug

}  // namespace hydrofoil::log
