// SPDX-License-Identifier: Apache-2.0
// Steps as a table for spreadsheets: one row a step, fixed columns, totals where JSON lines have
// parts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hydrofoil/monitor/line_file.h"
#include "hydrofoil/monitor/reporter.h"

namespace hydrofoil::monitor {

class CsvFile : public Reporter {
 public:
  // With a resumed step: keeps the rows up to it and goes on. Without: starts the file anew.
  CsvFile(const std::string& path, std::optional<int64_t> resumed_step);
  void report(const Event& event) override;

 private:
  LineFile file_;
};

}  // namespace hydrofoil::monitor
