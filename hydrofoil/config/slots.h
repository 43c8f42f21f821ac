// SPDX-License-Identifier: Apache-2.0
// How a JSON value gets into a member and back; used by the reader only.
#pragma once

#include <optional>
#include <string>

#include "hydrofoil/config/fields.h"

namespace hydrofoil::config {

Type type_of(const Slot& slot, const Key& key);
Value value_of(const Slot& slot, const Key& key);

// Checks type, range and choice, then stores. What was expected when the value does not fit.
std::optional<std::string> assign(const Slot& slot, const Key& key, const Value& value);

// "an integer of 0 to 3 (tokens)", for messages and documentation.
std::string expected_text(Type type, const Key& key);

// The same number, string, list or section, whatever the spelling of numbers.
bool same_value(const Value& a, const Value& b);

// The choice a string names, in any spelling; case does not matter. Null when there is none.
const Choice* find_choice(const Key& key, std::string_view name);

}  // namespace hydrofoil::config
