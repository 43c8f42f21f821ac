// SPDX-License-Identifier: Apache-2.0
// "Did you mean": the known name nearest to a misspelt one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hydrofoil::config {

// Edits are insertions, deletions, replacements and swaps of neighbours; case and '-' for '_' are
// free. Nothing when even the nearest name differs in more than a third of its letters.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& names);

}  // namespace hydrofoil::config
