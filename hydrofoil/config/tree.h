// SPDX-License-Identifier: Apache-2.0
// Values addressed by dotted paths.
#pragma once

#include <string>

#include "hydrofoil/config/json.h"

namespace hydrofoil::config {

// Sets "a.b.c" in an object, making sections on the way. Error(kUsage) when a name on the way
// holds something else than a section.
void set_path(Value& root, const std::string& path, Value value);

}  // namespace hydrofoil::config
