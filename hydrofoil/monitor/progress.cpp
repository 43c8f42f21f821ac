// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "hydrofoil/monitor/format.h"

namespace hydrofoil::monitor {
namespace {

uint64_t sum(const NamedBytes& values) {
  uint64_t total = 0;
  for (const auto& [name, bytes] : values) total += bytes;
  return total;
}

uint64_t peak(const NamedBytes& values) {
  for (const auto& [name, bytes] : values)
    if (name == "peak") return bytes;
  return sum(values);
}

// "disk 1.1 of 1.9 GB/s"
std::string disk_text(const DiskRate& disk) {
  const auto gigabytes = [](double rate) { return print("%.2f", rate / 1e9); };
  return "disk " + gigabytes(disk.bytes_per_second) +
         (disk.possible_bytes_per_second > 0 ? " of " + gigabytes(disk.possible_bytes_per_second)
                                             : "") +
         " GB/s";
}

// ", waits 23 %"
std::string waits_text(const StepRecord& r) {
  double waited = 0;
  for (const auto& [what, seconds] : r.file_wait_seconds) waited += seconds;
  const double share = waited / r.step_seconds;
  return share < 0.005 ? "" : ", waits " + print("%.0f", 100 * share) + " %";
}

std::string step_text(const StepRecord& r, double step_seconds) {
  std::string text = "step " + std::to_string(r.step) + "/" + std::to_string(r.steps) + "  loss " +
                     print("%.4f", r.loss) + "  " + human_count(r.tokens_per_second) + " tokens/s";
  if (!r.memory_bytes.empty()) text += "  " + human_bytes(peak(r.memory_bytes));
  if (r.disk) text += "  " + disk_text(*r.disk) + waits_text(r);
  if (r.skipped) text += "  skipped (overflow)";
  if (r.step < r.steps)
    text += "  " + human_duration(static_cast<double>(r.steps - r.step) * step_seconds) + " left";
  return text;
}

// "memory 1.20 GiB (plan 1.18 GiB), .." or "".
std::string against_plan(const EndRecord& end) {
  if (!end.measured || !end.predicted) return {};
  const RunFigures &real = *end.measured, &plan = *end.predicted;
  std::string text = "memory " + human_bytes(peak(real.memory_bytes)) + " (plan " +
                     human_bytes(peak(plan.memory_bytes)) + "), on the wire " +
                     human_bytes(sum(real.wire_bytes)) + " a step (plan " +
                     human_bytes(sum(plan.wire_bytes)) + ")";
  if (!real.file_bytes.empty())
    text += ", from and to files " + human_bytes(sum(real.file_bytes)) + " a step (plan " +
            human_bytes(sum(plan.file_bytes)) + ")";
  if (real.bytes_written && plan.bytes_written)
    text += ", written to disks " + human_bytes(*real.bytes_written) + " in all (plan " +
            human_bytes(*plan.bytes_written) + ")";
  if (real.step_seconds && plan.step_seconds)
    text += ", " + human_duration(*real.step_seconds) + " a step (plan " +
            human_duration(*plan.step_seconds) + ")";
  return text;
}

}  // namespace

Progress::Progress(ProgressOptions options) : options_(std::move(options)) {}

void Progress::report(const Event& event) {
  if (const auto* record = std::get_if<StepRecord>(&event)) return step(*record);
  if (const auto* record = std::get_if<EvalRecord>(&event))
    return line("step " + std::to_string(record->step) + "  " + record->name + ": loss " +
                print("%.4f", record->loss) +
                (record->accuracy ? ", accuracy " + print("%.4f", *record->accuracy)
                                  : ", perplexity " + print("%.2f", std::exp(record->loss))));
  if (const auto* record = std::get_if<SavedRecord>(&event))
    return line("step " + std::to_string(record->step) + "  saved " + record->checkpoint + " in " +
                print("%.2f", record->seconds) + " s, training waited " +
                print("%.2f", record->waited_seconds) + " s");
  if (const auto* record = std::get_if<EndRecord>(&event)) {
    line("done: " + std::to_string(record->steps) + " steps" +
         (record->checkpoint.empty() ? "" : ", saved in " + record->checkpoint));
    if (const auto text = against_plan(*record); !text.empty()) line(text);
    if (record->disk) line(disk_text(*record->disk) + "; " + record->advice);
    return;
  }
  // An error is printed by whoever exits; here it only must not land on the live line.
  if (shown_) options_.write("\n");
  shown_ = false;
}

void Progress::step(const StepRecord& record) {
  constexpr double kWeight = 0.1;
  const double seconds = record.step_seconds;
  average_step_seconds_ = average_step_seconds_ == 0
                              ? seconds
                              : (1 - kWeight) * average_step_seconds_ + kWeight * seconds;
  const std::string text = step_text(record, average_step_seconds_);
  const bool line_is_due = due(record);
  if (line_is_due && (!options_.live || options_.phases || options_.memory)) {
    line(text);
    breakdowns(record);
  } else if (options_.live) {
    // The cursor goes back to the front so that a warning overwrites this line.
    options_.write(text.substr(0, options_.columns - 1) + "\x1b[K\r");
    shown_ = true;
  }
}

// Whether this step has a line that stays.
bool Progress::due(const StepRecord& record) {
  const double now = options_.seconds();
  const bool first = last_step_ == 0;
  last_step_ = record.step;
  if (!first && record.step < record.steps && record.step % options_.every_steps != 0 &&
      now - last_line_ < options_.every_seconds)
    return false;
  last_line_ = now;
  return true;
}

void Progress::breakdowns(const StepRecord& record) {
  std::string text;
  if (options_.phases) {
    for (const auto& [phase, seconds] : record.phase_seconds)
      text += (text.empty() ? "  time (ms): " : " | ") + phase + " " + print("%.2f", seconds * 1e3);
    line(text);
  }
  if (!options_.memory) return;
  text.clear();
  for (const auto& [category, bytes] : record.memory_bytes)
    text += (text.empty() ? "  memory: " : " | ") + category + " " + human_bytes(bytes);
  line(text);
}

void Progress::line(const std::string& text) {
  const char* clear = shown_ ? "\x1b[K" : "";
  options_.write(clear + text + "\n");
  shown_ = false;
}

std::unique_ptr<Reporter> make_progress(const ProgressChoice& choice) {
  ProgressOptions options;
  if (choice.every_steps) {
    options.every_steps = *choice.every_steps;
    options.every_seconds = std::numeric_limits<double>::infinity();
  }
  options.phases = choice.phases;
  options.memory = choice.memory;
  options.live = ::isatty(STDERR_FILENO) == 1;
  winsize size = {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
    options.columns = size.ws_col;
  options.seconds = [] {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(now).count();
  };
  options.write = [](const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  };
  return std::make_unique<Progress>(std::move(options));
}

}  // namespace hydrofoil::monitor
