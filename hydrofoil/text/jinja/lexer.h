// SPDX-License-Identifier: Apache-2.0
// A template in pieces: text, and the words of its tags. White space around tags goes as with
// trim_blocks and lstrip_blocks, which is how chat templates are written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hydrofoil::text::jinja {

enum class TokenKind : uint8_t {
  kText,
  kOutputBegin,  // {{
  kOutputEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kReal,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text = {};
  int line = 1;
};

// Error(kData) names the line.
std::vector<Token> tokens_of(std::string_view source);

}  // namespace hydrofoil::text::jinja
