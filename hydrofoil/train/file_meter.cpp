// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/file_meter.h"

#include <array>
#include <string>
#include <utility>

namespace hydrofoil::train {
namespace {

constexpr std::array kTiers{std::pair{"optimizer", &FileCounters::optimizer},
                            std::pair{"gradients", &FileCounters::gradients},
                            std::pair{"parameters", &FileCounters::parameters}};
constexpr std::array kWaits{std::pair{"update", &FileCounters::update_wait_seconds},
                            std::pair{"gradients", &FileCounters::gradient_wait_seconds},
                            std::pair{"parameters", &FileCounters::parameter_wait_seconds}};

// a + sign b.
FileCounters combine(FileCounters a, const FileCounters& b, int sign) {
  const auto add = [&](auto& to, auto value) { sign > 0 ? to += value : to -= value; };
  for (const auto& [name, tier] : kTiers) {
    add((a.*tier).read_bytes, (b.*tier).read_bytes);
    add((a.*tier).written_bytes, (b.*tier).written_bytes);
  }
  for (const auto& [name, wait] : kWaits) add(a.*wait, b.*wait);
  return a;
}

FileCounters divided(FileCounters counters, int64_t by) {
  for (const auto& [name, tier] : kTiers) {
    (counters.*tier).read_bytes /= static_cast<uint64_t>(by);
    (counters.*tier).written_bytes /= static_cast<uint64_t>(by);
  }
  for (const auto& [name, wait] : kWaits) counters.*wait /= static_cast<double>(by);
  return counters;
}

monitor::NamedBytes named(const FileCounters& counters) {
  monitor::NamedBytes bytes;
  for (const auto& [name, tier] : kTiers) {
    const auto& [read, written, busy] = counters.*tier;
    if (read) bytes.emplace_back(std::string(name) + "_read", read);
    if (written) bytes.emplace_back(std::string(name) + "_written", written);
  }
  return bytes;
}

}  // namespace

FileMeter::Step FileMeter::end_step(double seconds) {
  if (open_ < 0) {
    engine_.optimizer();  // waits: the next step begins with quiet files
    first_ = engine_.file_counters();
  } else {
    seconds_ += seconds;
  }
  ++open_;
  const FileCounters now = engine_.file_counters();
  const FileCounters step = combine(now, std::exchange(last_, now), -1);
  Step result{.bytes = named(step), .waited = {}};
  for (const auto& [name, wait] : kWaits) result.waited.emplace_back(name, step.*wait);
  return result;
}

void FileMeter::pause() {
  const int64_t steps = std::exchange(open_, -1);
  if (steps <= 0) return;
  engine_.optimizer();
  sum_ = combine(combine(sum_, engine_.file_counters(), 1), first_, -1);
  steps_ += steps;
}

FileMeter::Mean FileMeter::mean_step() {
  pause();
  if (steps_ == 0) return {};
  const FileCounters mean = divided(sum_, steps_);
  return {.bytes = named(mean),
          .counters = mean,
          .step_seconds = seconds_ / static_cast<double>(steps_)};
}

uint64_t FileMeter::written_bytes() const {
  return moved_bytes(engine_.file_counters(), /*written=*/true);
}

uint64_t moved_bytes(const FileCounters& counters, bool written) {
  uint64_t bytes = 0;
  for (const auto& [name, tier] : kTiers)
    bytes += written ? (counters.*tier).written_bytes : (counters.*tier).read_bytes;
  return bytes;
}

}  // namespace hydrofoil::train
