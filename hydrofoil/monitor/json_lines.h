// SPDX-License-Identifier: Apache-2.0
// Events as JSON, one object a line: on standard output for scripts (`train --json`), in a file for
// later. Numbers read back exactly; what JSON cannot say (nan, infinity) is null.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "hydrofoil/monitor/line_file.h"
#include "hydrofoil/monitor/reporter.h"

namespace hydrofoil::monitor {

// {"event":"step","step":1,..}, "eval", "saved", "end" or "error"; without a line end.
std::string to_json(const Event& event);

class JsonLines : public Reporter {
 public:
  explicit JsonLines(LineFile file) : file_(std::move(file)) {}
  void report(const Event& event) override { file_.write(to_json(event)); }

 private:
  LineFile file_;
};

std::unique_ptr<Reporter> json_lines_on_stdout();
// With a resumed step: keeps what was recorded up to it and goes on. Without: starts the file anew.
std::unique_ptr<Reporter> json_lines_file(const std::string& path,
                                          std::optional<int64_t> resumed_step);

}  // namespace hydrofoil::monitor
