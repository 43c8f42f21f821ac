// SPDX-License-Identifier: Apache-2.0
// --set a.b=c of every command that takes a configuration.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/config/json.h"

namespace hydrofoil::config {

struct Override {
  std::string path;
  Value value;  // as JSON; a string where it is none
};

Place command_line_place();

// Error(kUsage) for one without '=' or with an empty name.
std::vector<Override> parse_overrides(std::span<const std::string> texts);

// Those whose path `wanted` accepts, in order; later ones win.
void apply_overrides(Value& document, const std::vector<Override>& overrides,
                     const std::function<bool(const std::string& path)>& wanted);

}  // namespace hydrofoil::config
