// SPDX-License-Identifier: Apache-2.0
// The few facts about UTF-8 that a parser of text needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hydrofoil::config {

constexpr bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

// Offset of the first byte that does not begin a well-formed sequence (overlong forms, surrogates
// and values past U+10FFFF included).
std::optional<size_t> first_invalid_utf8(std::string_view text);

void append_utf8(std::string& out, uint32_t code_point);

}  // namespace hydrofoil::config
