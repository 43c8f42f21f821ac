// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/timings.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/log.h"

namespace hydrofoil::comm {
namespace {

constexpr double kTrim = 0.1;  // of either end

double trimmed_mean(std::vector<float> values) {
  std::sort(values.begin(), values.end());
  const auto cut = static_cast<std::ptrdiff_t>(kTrim * static_cast<double>(values.size()));
  const double sum = std::accumulate(values.begin() + cut, values.end() - cut, 0.0);
  return sum / static_cast<double>(values.size() - 2 * static_cast<size_t>(cut));
}

std::string line_of(const TimingRow& row) {
  std::array<char, 160> text;
  std::snprintf(text.data(), text.size(), "%-15s %14llu %8llu %12.3f %12.4f %11.3f %11.3f",
                std::string(name_of(row.op)).c_str(), static_cast<unsigned long long>(row.bytes),
                static_cast<unsigned long long>(row.calls), row.total_ms, row.mean_ms,
                row.alg_gb_per_s(), row.bus_gb_per_s());
  return text.data();
}

}  // namespace

double TimingRow::alg_gb_per_s() const {
  if (mean_ms <= 0) return 0;
  const double bits = 8.0 * static_cast<double>(bytes) * (op == Operation::kAllReduce ? 2 : 1);
  return bits / (mean_ms * 1e6);
}

double TimingRow::bus_gb_per_s() const {
  switch (op) {
    case Operation::kAllReduce:
    case Operation::kReduceScatter:
    case Operation::kAllGather:
    case Operation::kAllToAll:
      return alg_gb_per_s() * (ranks - 1) / ranks;
    default:
      return alg_gb_per_s();
  }
}

void Timings::watch(const std::vector<Operation>& operations, bool verbose) {
  uint32_t mask = operations.empty() ? ~uint32_t{0} : 0;
  for (const Operation op : operations) mask |= uint32_t{1} << static_cast<int>(op);
  verbose_.store(verbose);
  watched_.store(mask);
}

void Timings::add(Operation op, uint64_t bytes, int ranks, int64_t nanoseconds) {
  const double ms = static_cast<double>(nanoseconds) / 1e6;
  {
    const std::lock_guard lock(mutex_);
    Cell& cell = cells_[{op, bytes, ranks}];
    if (cell.recent_ms.size() < kRecent)
      cell.recent_ms.push_back(static_cast<float>(ms));
    else
      cell.recent_ms[cell.calls % kRecent] = static_cast<float>(ms);
    ++cell.calls;
    cell.total_ms += ms;
  }
  if (verbose_.load(std::memory_order_relaxed))
    log::info("comm: " + line_of({op, bytes, ranks, 1, ms, ms}));
}

std::vector<TimingRow> Timings::rows() const {
  const std::lock_guard lock(mutex_);
  std::vector<TimingRow> rows;
  for (const auto& [key, cell] : cells_)
    rows.push_back({std::get<Operation>(key), std::get<uint64_t>(key), std::get<int>(key),
                    cell.calls, cell.total_ms, trimmed_mean(cell.recent_ms)});
  return rows;
}

// DeepSpeed names variants by what follows: all_gather_into_tensor, all_to_all_single, isend.
Operation operation_named(std::string_view name) {
  const std::string_view stem = name == "isend" || name == "irecv" ? name.substr(1) : name;
  for (size_t i = 0; i < kOperations; ++i) {
    const auto op = static_cast<Operation>(i);
    if (stem.starts_with(name_of(op))) return op;
  }
  throw Error(ExitCode::kConfig, "there is no operation '" + std::string(name) + "'",
              "comms_logger.prof_ops",
              "use all_reduce, reduce_scatter, all_gather, all_to_all, broadcast, send, recv, "
              "barrier, read");
}

std::vector<std::string> timing_lines(const std::vector<TimingRow>& rows) {
  std::vector<std::string> lines;
  std::array<char, 160> head;
  std::snprintf(head.data(), head.size(), "%-15s %14s %8s %12s %12s %11s %11s", "operation",
                "message bytes", "calls", "total ms", "mean ms", "alg Gbit/s", "bus Gbit/s");
  lines.emplace_back(head.data());
  for (const TimingRow& row : rows) lines.push_back(line_of(row));
  return lines;
}

}  // namespace hydrofoil::comm
