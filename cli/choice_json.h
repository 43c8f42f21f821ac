// SPDX-License-Identifier: Apache-2.0
// Choices of kernels as doctor prints them, from the program and from libhydrofoil_train.so.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "hydrofoil/kernels/choice.h"

namespace hydrofoil::cli {

// {WORK: {"chosen": .., "candidates": [..], "reason": ..}, ..}
inline nlohmann::ordered_json choices_json(const std::vector<kernels::Choice>& choices) {
  auto json = nlohmann::ordered_json::object();
  for (const auto& [work, chosen, candidates, reason] : choices)
    json[work] = {{"chosen", chosen}, {"candidates", candidates}, {"reason", reason}};
  return json;
}

}  // namespace hydrofoil::cli
