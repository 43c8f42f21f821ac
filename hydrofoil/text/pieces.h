// SPDX-License-Identifier: Apache-2.0
// Tokens as SentencePiece writes them: text in which a sign stands for a space, and one token a
// byte.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hydrofoil::text {

std::string byte_token(char byte);                          // "<0xC3>"
std::optional<char> byte_of_token(std::string_view token);  // nothing: it is none
std::string with_spaces(std::string_view token, std::string_view sign, std::string_view space);
size_t character_bytes(char lead);  // of a character of valid UTF-8, by its first byte

}  // namespace hydrofoil::text
