// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/csv.h"

#include <charconv>
#include <string_view>
#include <utility>

#include "hydrofoil/monitor/format.h"

namespace hydrofoil::monitor {
namespace {

constexpr std::string_view kHeader =
    "step,loss,grad_norm,lr,tokens_per_second,step_seconds,mfu,wire_bytes,peak_memory_bytes,"
    "skipped";

LineFile open(const std::string& path, std::optional<int64_t> resumed_step) {
  if (!resumed_step) return LineFile::create(path);
  return LineFile::resume(path, [&](std::string_view line) {
    int64_t step = 0;
    const auto parsed = std::from_chars(line.data(), line.data() + line.size(), step);
    return line == kHeader || (parsed.ec == std::errc() && step <= *resumed_step);
  });
}

}  // namespace

CsvFile::CsvFile(const std::string& path, std::optional<int64_t> resumed_step)
    : file_(open(path, resumed_step)) {
  if (file_.empty()) file_.write(std::string(kHeader));
}

void CsvFile::report(const Event& event) {
  const auto* record = std::get_if<StepRecord>(&event);
  if (!record) return;
  uint64_t wire_bytes = 0, peak_bytes = 0;
  for (const auto& [name, bytes] : record->wire_bytes) wire_bytes += bytes;
  for (const auto& [name, bytes] : record->memory_bytes)
    if (name == "peak") peak_bytes = bytes;
  std::string row = std::to_string(record->step);
  const auto cell = [&row](const std::string& text) { row.append(",").append(text); };
  for (const double value : {record->loss, record->grad_norm, record->lr, record->tokens_per_second,
                             record->step_seconds})
    cell(exact(value));
  cell(record->mfu ? exact(*record->mfu) : "");
  cell(std::to_string(wire_bytes));
  cell(std::to_string(peak_bytes));
  cell(record->skipped ? "1" : "0");
  file_.write(std::move(row));
}

}  // namespace hydrofoil::monitor
