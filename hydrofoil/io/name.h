// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string_view>

namespace hydrofoil::io {

// Names of tensors and keys of foreign files reach terminals and JSON: printable ASCII, not empty.
inline bool is_plain_name(std::string_view name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

}  // namespace hydrofoil::io
