// SPDX-License-Identifier: Apache-2.0
// A run as one HTML page without scripts or other files, and as figures for scripts.
#pragma once

#include <string>

#include "hydrofoil/monitor/run_folder.h"

namespace hydrofoil::monitor {

// Well-formed as XML too. Text of the run is escaped; light and dark follow the reader's system.
std::string html_report(const RunFolder& run);

// One line: steps, loss (first, last, smallest), tokens per second, evaluations, checkpoints,
// notes.
std::string json_report(const RunFolder& run);

}  // namespace hydrofoil::monitor
