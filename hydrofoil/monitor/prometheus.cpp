// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/prometheus.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/log.h"
#include "hydrofoil/monitor/format.h"

namespace hydrofoil::monitor {
namespace {

constexpr const char *kGauge = "gauge", *kCounter = "counter";

std::string escaped(const std::string& label) {
  std::string text;
  for (const char c : label) {
    if (c == '\\' || c == '"') text += '\\';
    if (c == '\n') text += "\\n";
    if (c != '\n') text += c;
  }
  return text;
}

std::string label(const char* name, const std::string& value) {
  return std::string(",") + name + "=\"" + escaped(value) + "\"";
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return exact(value);
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

Prometheus::Prometheus(std::string path, std::string run)
    : path_(std::move(path)), run_(std::move(run)) {}

void Prometheus::set(const std::string& name, Metric metric) {
  auto [known, fresh] = metrics_.try_emplace("hydrofoil_train_" + name, metric);
  if (fresh) return;
  for (const auto& [labels, value] : metric.values)
    known->second.values[labels] =
        metric.type == kCounter ? known->second.values[labels] + value : value;
}

void Prometheus::report(const Event& event) {
  if (const auto* record = std::get_if<StepRecord>(&event)) {
    step(*record);
  } else if (const auto* eval = std::get_if<EvalRecord>(&event)) {
    set("eval_loss", {kGauge,
                      "Mean loss of a token of held-out text",
                      {{label("data", eval->name), eval->loss}}});
  } else if (const auto* saved = std::get_if<SavedRecord>(&event)) {
    set("checkpoint_step",
        {kGauge, "Step of the newest checkpoint", {{"", static_cast<double>(saved->step)}}});
  } else {
    return;
  }
  write();
}

void Prometheus::step(const StepRecord& r) {
  const auto gauge = [&](const char* name, const char* help, double value) {
    set(name, {kGauge, help, {{"", value}}});
  };
  gauge("step", "Optimizer steps finished", static_cast<double>(r.step));
  gauge("steps", "Optimizer steps of the whole run", static_cast<double>(r.steps));
  gauge("samples", "Sequences consumed", static_cast<double>(r.samples));
  gauge("loss", "Loss of the last step", r.loss);
  gauge("gradient_norm", "Global norm before clipping", r.grad_norm);
  gauge("learning_rate", "Of the first parameter group", r.lr);
  gauge("tokens_per_second", "Of all ranks", r.tokens_per_second);
  gauge("step_seconds", "Duration of the last step", r.step_seconds);
  gauge("last_step_timestamp_seconds", "When the last step ended: a hang stops it", now_seconds());
  if (r.loss_scale) gauge("loss_scale", "Of a 16-bit run", *r.loss_scale);
  if (r.mfu) gauge("mfu", "Fraction of the machine's peak", *r.mfu);
  set("skipped_steps_total",
      {kCounter, "Steps without an update since the start", {{"", r.skipped ? 1.0 : 0.0}}});
  for (const auto& [name, bytes] : r.wire_bytes)
    set("wire_bytes_total", {kCounter,
                             "Bytes received by one rank since the start",
                             {{label("operation", name), static_cast<double>(bytes)}}});
  if (r.disk)
    gauge("disk_bytes_per_second", "From and to files, this host", r.disk->bytes_per_second);
  for (const auto& [name, bytes] : r.file_bytes)
    set("file_bytes_total", {kCounter,
                             "Bytes one rank has moved from and to its files since the start",
                             {{label("use", name), static_cast<double>(bytes)}}});
  for (const auto& [name, bytes] : r.memory_bytes)
    set("memory_bytes", {kGauge,
                         "Of one rank, by category",
                         {{label("category", name), static_cast<double>(bytes)}}});
}

// Renamed into place: the collector reads the old file or the new one. Not synced: it is worth
// nothing after a crash.
void Prometheus::write() {
  const std::string aside = path_ + ".tmp";
  std::ofstream out(aside, std::ios::binary | std::ios::trunc);
  for (const auto& [name, metric] : metrics_) {
    out << "# HELP " << name << ' ' << metric.help << "\n# TYPE " << name << ' ' << metric.type
        << '\n';
    for (const auto& [labels, value] : metric.values)
      out << name << "{run=\"" << escaped(run_) << '"' << labels << "} " << number(value) << '\n';
  }
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(aside, path_, error);
  if ((out && !error) || warned_) return;
  warned_ = true;
  log::warn(path_ + ": " + (error ? error.message() : errno_message("write")) +
            "; the figures for Prometheus are not current, the run goes on");
}

}  // namespace hydrofoil::monitor
