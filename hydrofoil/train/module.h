// SPDX-License-Identifier: Apache-2.0
// The units of a torch::nn::Module, found from its parameter names. Header-only on purpose: library
// code does not pay for torch/nn.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/train/engine.h"

namespace hydrofoil::train {

// "layers.3.attention.weight" -> "layers.3": up to the first index, the grain at which a model
// repeats itself; without one the first component; "root" for the module's own parameters.
inline std::string unit_name(std::string_view parameter) {
  size_t begin = 0;
  for (size_t end = parameter.find('.'); end != std::string_view::npos;
       end = parameter.find('.', begin)) {
    const auto part = parameter.substr(begin, end - begin);
    if (std::ranges::all_of(part, [](unsigned char c) { return std::isdigit(c) != 0; }))
      return std::string(parameter.substr(0, end));
    begin = end + 1;
  }
  const size_t dot = parameter.find('.');
  return dot == std::string_view::npos ? "root" : std::string(parameter.substr(0, dot));
}

// Any module with named_parameters(), in registration order.
template <class Module>
std::vector<UnitParameters> units_of(const Module& module) {
  std::vector<UnitParameters> units;
  for (const auto& item : module.named_parameters()) {
    const std::string unit = unit_name(item.key());
    auto found = std::ranges::find(units, unit, &UnitParameters::name);
    if (found == units.end())
      found = units.insert(units.end(), UnitParameters{.name = unit, .parameters = {}});
    found->parameters.push_back({.name = item.key(), .tensor = item.value()});
  }
  return units;
}

}  // namespace hydrofoil::train
