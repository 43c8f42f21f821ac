// SPDX-License-Identifier: Apache-2.0
// Python's operators on values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hydrofoil/text/jinja/value.h"

namespace hydrofoil::text::jinja {

// Error(kData) for types that have no such operator.
Value unary(const std::string& name, const Value& value);
// But for "and" and "or", which do not always look at both sides.
Value binary(const std::string& name, const Value& a, const Value& b);
// [begin:end:step] of a list or string.
Value sliced(const Value& value, std::optional<int64_t> begin, std::optional<int64_t> end,
             int64_t step);

}  // namespace hydrofoil::text::jinja
