// SPDX-License-Identifier: Apache-2.0
// Code points and normal forms, on utf8proc. Texts are valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace hydrofoil::text {

enum class NormalForm : uint8_t { kC, kD, kKC, kKD };
std::string normalized(std::string_view text, NormalForm form);

// Calls visit(code point, its bytes) for each one.
template <class Visit>
void for_each_character(std::string_view text, const Visit& visit) {
  for (size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    int32_t character = size == 1 ? lead : lead & (0x7F >> size);
    for (size_t i = 1; i < size; ++i) character = character << 6 | (text[at + i] & 0x3F);
    visit(character, text.substr(at, size));
    at += size;
  }
}

// Calls visit(its bytes) for each extended grapheme cluster.
void for_each_grapheme(std::string_view text, const std::function<void(std::string_view)>& visit);

void append_character(int32_t character, std::string& to);

bool is_white_space(int32_t character);  // the property White_Space
bool is_punctuation(int32_t character);  // categories P*, and ASCII's symbols
bool is_other(int32_t character);        // control, format, private use
bool is_nonspacing_mark(int32_t character);
bool is_mark(int32_t character);  // categories M*
// Its lower case: one character, but for the dotted capital I.
void append_lower_case(int32_t character, std::string& to);

}  // namespace hydrofoil::text
