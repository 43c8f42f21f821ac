// SPDX-License-Identifier: Apache-2.0
// UTF-8 as bytes: validation with an offset, and output that is always valid.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace hydrofoil::text {

// Offset of the first byte that belongs to no well-formed sequence (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF, no cut sequence at the end).
std::optional<size_t> find_invalid_utf8(std::string_view text);

// Throws Error(kData) "invalid UTF-8 at byte N (0xC3)" unless the text is valid. `where` names its
// source.
void check_utf8(std::string_view text, const std::string& where);

// Appends `bytes` to `out`, each maximal ill-formed part replaced by U+FFFD (as Unicode 3.9 D93b
// recommends and Rust and Python do). Returns the bytes consumed: all of them, but for a sequence
// cut at the end that later bytes may complete; `final` says that none will come.
size_t append_valid_utf8(std::string_view bytes, bool final, std::string& out);

// Where the character after the one at `at` begins; beyond the end for the last one.
inline size_t next_character(std::string_view text, size_t at) {
  for (++at; at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;) ++at;
  return at;
}

}  // namespace hydrofoil::text
