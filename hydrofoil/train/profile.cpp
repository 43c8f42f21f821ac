// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/profile.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>

#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/monitor/format.h"

namespace hydrofoil::train {
namespace {

using spec::Part;

// Rows are looked up, not multiplied.
bool is_table(const spec::ParameterSpec& parameter) {
  return parameter.part == Part::kTokens || parameter.part == Part::kPositions ||
         parameter.part == Part::kTokenTypes;
}

// Keys that a query of the layer sees on average.
double keys_seen(const spec::ModelSpec& spec, int64_t layer, int64_t sequence_length) {
  const auto length = static_cast<double>(sequence_length);
  const auto window = static_cast<double>(spec.window_of(layer));
  if (!spec.causal) return length;
  if (window > 0 && window < length) return window - window * window / (2 * length);
  return length / 2;
}

template <class... Values>
std::string print(const char* format, Values... values) {
  std::array<char, 256> text;
  const int size = std::snprintf(text.data(), text.size(), format, values...);
  return {text.data(), std::min(static_cast<size_t>(size), text.size() - 1)};
}

std::string table_line(const UnitCost& unit, int64_t tokens,
                       const std::map<std::string, double>& seconds) {
  const auto of = [&](const char* pass) {
    const auto found = seconds.find(pass + unit.name);
    return found == seconds.end() ? 0.0 : found->second;
  };
  const double forward = of("forward of "), again = of("recompute of "),
               backward = of("backward of ");
  // Recomputation lies inside backward.
  const double flops = unit.forward_flops * static_cast<double>(tokens) * (again > 0 ? 4 : 3);
  const double total = forward + backward;
  return print("  %-20s %10s %10s %10s %11.2f %12.2f %12.2f %9.2f\n", unit.name.c_str(),
               monitor::human_count(static_cast<double>(unit.parameters)).c_str(),
               monitor::human_count(unit.forward_flops / 2 * static_cast<double>(tokens)).c_str(),
               monitor::human_count(flops).c_str(), forward * 1e3, (backward - again) * 1e3,
               again * 1e3, total > 0 ? flops / total * 1e-9 : 0.0);
}

}  // namespace

std::vector<UnitCost> unit_costs(const spec::ModelSpec& spec, int64_t sequence_length) {
  std::vector<UnitCost> units;
  for (const auto& block : spec::blocks(spec)) {
    UnitCost unit{.name = block.name};
    for (const auto& parameter : block.parameters) {
      const int64_t count = parameter.numel();
      unit.parameters += count;
      // The head's product is counted below: its weight may be the embedding's.
      if (parameter.shape.size() == 2 && !is_table(parameter) && parameter.part != Part::kHead)
        unit.forward_flops += 2.0 * static_cast<double>(count);
    }
    units.push_back(std::move(unit));
  }
  if (spec.head != spec::HeadKind::kClasses)
    units.back().forward_flops += 2.0 * static_cast<double>(spec.vocab_size * spec.token_size());
  for (int64_t layer = 0; layer < spec.layers; ++layer)
    units[static_cast<size_t>(layer) + 1].forward_flops +=
        4.0 * static_cast<double>(spec.heads * spec.head_dim) *
        keys_seen(spec, layer, sequence_length);
  return units;
}

std::string profile_table(std::span<const UnitCost> units, const ProfiledStep& step,
                          std::span<const monitor::TraceEvent> events) {
  std::map<std::string, double> seconds;
  for (const auto& event : events)
    seconds[event.name] += 1e-9 * static_cast<double>(event.end_ns - event.begin_ns);
  std::string text = print("profile of step %lld, rank 0, %lld tokens\n",
                           static_cast<long long>(step.step), static_cast<long long>(step.tokens));
  if (step.units)
    text += print("  %-20s %10s %10s %10s %11s %12s %12s %9s\n", "unit", "parameters", "fwd MACs",
                  "flops", "forward ms", "backward ms", "recompute ms", "GFLOPS");
  double useful = 0;
  for (const auto& unit : units) {
    useful += 3 * unit.forward_flops * static_cast<double>(step.tokens);
    if (step.units) text += table_line(unit, step.tokens, seconds);
  }
  return text + print(
                    "  step: %s flops in %.2f ms, %.2f GFLOPS; matrix products reach %.2f here: "
                    "MFU %.1f %%\n",
                    monitor::human_count(useful).c_str(), step.seconds * 1e3,
                    useful / step.seconds * 1e-9, step.peak_flops * 1e-9,
                    100 * useful / step.seconds / step.peak_flops);
}

double measured_peak_flops() {
  constexpr int64_t kSize = 768, kRuns = 5;
  const at::NoGradGuard no_grad;
  const auto a = at::ones({kSize, kSize}), b = at::ones({kSize, kSize});
  double best = 0;
  for (int64_t run = 0; run < kRuns; ++run) {
    const int64_t start = comm::monotonic_ns();
    at::mm(a, b);
    const double seconds = 1e-9 * static_cast<double>(comm::monotonic_ns() - start);
    best = std::max(best, 2.0 * kSize * kSize * kSize / seconds);
  }
  return best;
}

}  // namespace hydrofoil::train
