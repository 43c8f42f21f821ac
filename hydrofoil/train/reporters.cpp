// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/reporters.h"

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "hydrofoil/core/host.h"
#include "hydrofoil/monitor/csv.h"
#include "hydrofoil/monitor/format.h"
#include "hydrofoil/monitor/json_lines.h"
#include "hydrofoil/monitor/progress.h"
#include "hydrofoil/monitor/prometheus.h"
#include "hydrofoil/monitor/tensorboard.h"

namespace hydrofoil::train {
namespace {

namespace fs = std::filesystem;

// <output_path>/<job_name>, its folder made.
fs::path place_of(const config::MonitorConfig& monitor, const std::string& output) {
  const fs::path folder = monitor.output_path.empty() ? output : monitor.output_path;
  fs::create_directories(folder);
  return folder / monitor.job_name;
}

}  // namespace

monitor::Reporters open_reporters(const config::RunConfig& run,
                                  const std::optional<Progress>& resumed, bool json) {
  const auto& ds = run.deepspeed;
  const auto step = resumed ? std::optional(resumed->step) : std::nullopt;
  monitor::Reporters all;
  all.add(monitor::make_progress({.every_steps = ds.steps_per_print,
                                  .phases = ds.wall_clock_breakdown,
                                  .memory = ds.memory_breakdown}));
  all.add(monitor::json_lines_file((fs::path(run.output) / "steps.jsonl").string(), step));
  if (json) all.add(monitor::json_lines_on_stdout());
  if (ds.csv_monitor.enabled)
    all.add(std::make_unique<monitor::CsvFile>(
        place_of(ds.csv_monitor, run.output).string() + ".csv", step));
  if (ds.tensorboard.enabled)
    all.add(std::make_unique<monitor::TensorBoard>(
        place_of(ds.tensorboard, run.output),
        resumed ? std::optional(resumed->samples) : std::nullopt));
  if (!run.prometheus_file.empty())
    all.add(std::make_unique<monitor::Prometheus>(run.prometheus_file, run.output));
  return all;
}

std::string machine_json(int ranks, int threads, const std::string& program) {
  const nlohmann::ordered_json json{{"program", program},
                                    {"processor", host::cpu_model()},
                                    {"cores", host::usable_cores()},
                                    {"ranks", ranks},
                                    {"threads of a rank", threads},
                                    {"memory", monitor::human_bytes(host::memory().total_bytes)}};
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace hydrofoil::train
