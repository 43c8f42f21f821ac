// SPDX-License-Identifier: Apache-2.0
// What templates can use by name, with the meaning that Jinja and Python give it.
#pragma once

#include <string>

#include "hydrofoil/text/jinja/value.h"

namespace hydrofoil::text::jinja {

constexpr size_t kMostBytes = size_t{16} << 20;  // of any string; Error(kData) beyond

// Each is Error(kData) for a name that is none, arguments that are missing or of the wrong type.
Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments);
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments);
Value call_method(const Value& object, const std::string& name, const Arguments& arguments);
const Dict& globals();

// Helpers of the above.
const std::string& string_of(const Value& value);
int64_t integer_of(const Value& value);

std::string joined(const List& items, const std::string& separator);
// A member of a dictionary or item of a list; undefined where there is none.
Value member(const Value& object, const Value& key);

}  // namespace hydrofoil::text::jinja
