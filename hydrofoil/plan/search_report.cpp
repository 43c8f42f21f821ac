// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "hydrofoil/monitor/format.h"
#include "hydrofoil/plan/search.h"

namespace hydrofoil::plan {
namespace {

using monitor::human_bytes;

std::string count_text(size_t count, const std::string& what) {
  return std::to_string(count) + " " + what;
}

std::string row(const Found& f) {
  const auto mesh = f.mesh();
  std::array<char, 160> line;
  std::snprintf(line.data(), line.size(),
                "%4d %4d %4d %4d %4d  %-11s %4ld x %-4ld %-3s %10s %5.1f %% %10s %10s %9s %8s\n",
                mesh.pp, mesh.dp, mesh.sp, mesh.tp, f.run.stage,
                mesh.pp > 1 ? parallel::name_of(f.run.pipeline.schedule).data() : "-",
                static_cast<long>(f.run.accumulation), static_cast<long>(f.run.micro_batch),
                f.run.recompute ? "yes" : "no", human_bytes(f.peak_bytes).c_str(), 100 * f.bubble(),
                human_bytes(static_cast<uint64_t>(f.received.inside)).c_str(),
                human_bytes(static_cast<uint64_t>(f.received.between)).c_str(),
                monitor::human_duration(f.time.total_seconds()).c_str(),
                monitor::human_count(f.time.tokens_per_second).c_str());
  return line.data();
}

}  // namespace

std::string to_text(const Search& s) {
  std::string text = std::to_string(s.batch) + " sequences a step; " +
                     count_text(s.tried, "ways tried") + ", " +
                     count_text(s.too_large, "of the faster ones need more memory") + ", " +
                     count_text(s.refused, "meshes cannot be") +
                     (s.refused > 0 ? " (" + s.refusal + ")" : "") + "\n\n";
  if (s.best.empty()) return text + "none fits\n";
  text +=
      "  pp   dp   sp   tp ZeRO  schedule    micro-batches  rec.     memory  bubble     inside    "
      "between      step tokens/s\n";
  for (const Found& found : s.best) text += row(found);
  text += "\nthe first:\n ";
  for (const auto& setting : s.best.front().settings) text += " --set " + setting;
  return text + "\n";
}

std::string to_json(const Search& s) {
  nlohmann::ordered_json json{
      {"batch", s.batch},     {"tried", s.tried},     {"too_large", s.too_large},
      {"refused", s.refused}, {"refusal", s.refusal}, {"best", nlohmann::ordered_json::array()}};
  for (const Found& f : s.best) {
    const auto mesh = f.mesh();
    json["best"].push_back(
        {{"mesh", {{"pp", mesh.pp}, {"dp", mesh.dp}, {"sp", mesh.sp}, {"tp", mesh.tp}}},
         {"stage", f.run.stage},
         {"schedule", parallel::name_of(f.run.pipeline.schedule)},
         {"micro_batch", f.run.micro_batch},
         {"accumulation", f.run.accumulation},
         {"recompute", f.run.recompute},
         {"peak_bytes", f.peak_bytes},
         {"bubble", f.bubble()},
         {"received_bytes", {{"inside", f.received.inside}, {"between", f.received.between}}},
         {"seconds", f.time.total_seconds()},
         {"tokens_per_second", f.time.tokens_per_second},
         {"set", f.settings}});
  }
  return json.dump();
}

}  // namespace hydrofoil::plan
