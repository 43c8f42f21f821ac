// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/pieces.h"

#include <algorithm>

namespace hydrofoil::text {
namespace {

constexpr std::string_view kHex = "0123456789ABCDEF";

}  // namespace

std::string byte_token(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return {'<', '0', 'x', kHex[value >> 4], kHex[value & 15], '>'};
}

std::optional<char> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  const size_t high = kHex.find(token[3]), low = kHex.find(token[4]);
  if (high == kHex.npos || low == kHex.npos) return std::nullopt;
  return static_cast<char>(high << 4 | low);
}

std::string with_spaces(std::string_view token, std::string_view sign, std::string_view space) {
  std::string text;
  while (!token.empty()) {
    const size_t at = std::min(token.find(sign), token.size());
    text += token.substr(0, at);
    if (at == token.size()) break;
    text += space;
    token.remove_prefix(at + sign.size());
  }
  return text;
}

size_t character_bytes(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

}  // namespace hydrofoil::text
