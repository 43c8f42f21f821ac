// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "hydrofoil/monitor/format.h"
#include "hydrofoil/plan/simulator.h"

namespace hydrofoil::plan {
namespace {

using monitor::human_duration;

double mean_wait(const Simulation& simulation) {
  double sum = 0;
  for (const auto& rank : simulation.ranks) sum += rank.waited();
  return sum / static_cast<double>(simulation.ranks.size());
}

}  // namespace

std::string to_text(const Simulation& s, double planned_seconds) {
  const auto [first, last] = std::ranges::minmax(s.ranks, {}, &Simulation::Rank::last);
  std::string text = std::to_string(s.ranks.size()) + " ranks, planned " +
                     human_duration(planned_seconds) + " a step\n";
  if (!std::isfinite(s.seconds))
    return text + "the step does not end: the first rank stands still after " +
           human_duration(first.last) + ", the last after " + human_duration(last.last) + "\n";
  return text + "simulated " + human_duration(s.seconds) + ", " +
         monitor::print("%.3g", s.seconds / planned_seconds) + " x as long; a rank waits " +
         human_duration(mean_wait(s)) + " of it for others, in the mean\n";
}

std::string to_json(const Simulation& s, double planned_seconds) {
  const auto [first, last] = std::ranges::minmax(s.ranks, {}, &Simulation::Rank::last);
  nlohmann::ordered_json json{{"ranks", s.ranks.size()},
                              {"planned_seconds", planned_seconds},
                              {"seconds", nullptr},
                              {"mean_wait_seconds", mean_wait(s)},
                              {"first_still_seconds", first.last},
                              {"last_still_seconds", last.last}};
  if (std::isfinite(s.seconds)) json["seconds"] = s.seconds;
  return json.dump();
}

}  // namespace hydrofoil::plan
