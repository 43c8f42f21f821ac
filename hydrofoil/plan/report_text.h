// SPDX-License-Identifier: Apache-2.0
// Lines of what plans print; internal to this room.
#pragma once

#include <cstdint>
#include <string>

namespace hydrofoil::plan {

// "  name            value   note".
std::string row(const std::string& name, const std::string& value, const std::string& note = {});
std::string row(const std::string& name, uint64_t bytes, const std::string& note = {});

}  // namespace hydrofoil::plan
