// SPDX-License-Identifier: Apache-2.0
// Progress for people, on standard error: one live line on a terminal, plain lines elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "hydrofoil/monitor/reporter.h"

namespace hydrofoil::monitor {

struct ProgressOptions {
  bool live = false;          // overwrite one line; else print lines
  size_t columns = 80;        // of the terminal: a live line that wrapped could not be overwritten
  int64_t every_steps = 100;  // plain lines: at each multiple, at the first and last step, ..
  double every_seconds = 10;  // .. and when this long has passed since the last one
  bool phases = false;        // after such a line one of where the time of the step went, ..
  bool memory = false;        // .. and one of memory by category
  std::function<double()> seconds;                // a clock that only moves forward
  std::function<void(const std::string&)> write;  // raw bytes
};

class Progress : public Reporter {
 public:
  explicit Progress(ProgressOptions options);
  void report(const Event& event) override;

 private:
  void step(const StepRecord& record);
  void breakdowns(const StepRecord& record);
  bool due(const StepRecord& record);
  void line(const std::string& text);

  ProgressOptions options_;
  double average_step_seconds_ = 0;  // recent steps weigh more
  double last_line_ = 0;
  int64_t last_step_ = 0;
  bool shown_ = false;  // a live line stands on the screen
};

struct ProgressChoice {
  std::optional<int64_t> every_steps = {};  // plain lines at its multiples, however long that takes
  bool phases = false, memory = false;
};
// On standard error, live when that is a terminal.
std::unique_ptr<Reporter> make_progress(const ProgressChoice& choice = {});

}  // namespace hydrofoil::monitor
