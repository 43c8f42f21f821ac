// SPDX-License-Identifier: Apache-2.0
// JSON of files that somebody else wrote: bounded depth, no key twice, nothing after the end.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace hydrofoil::io {

constexpr int kMaxJsonDepth = 64;

// Error(kCheckpoint) with `where` when the text is not such a document (RFC 8259, UTF-8).
nlohmann::json parse_json(std::string_view text, const std::string& where);

}  // namespace hydrofoil::io
