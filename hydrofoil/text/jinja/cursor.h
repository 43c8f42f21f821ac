// SPDX-License-Identifier: Apache-2.0
// Inside the parser: the tokens, and where it stands among them.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/jinja/lexer.h"

namespace hydrofoil::text::jinja {

constexpr int kMostNesting = 200;  // of blocks and brackets
constexpr int kMostLinks = 500;    // of a chain: a + b + c, a.b.c, a | b | c

class Cursor {
 public:
  explicit Cursor(std::string_view source) : tokens_(tokens_of(source)) {}

 protected:
  struct Nesting {
    explicit Nesting(Cursor& parser) : depth(parser.depth_) {
      if (++depth > kMostNesting) parser.bad("the template is nested too deeply");
    }
    ~Nesting() { --depth; }
    int& depth;
  };

  const Token& token(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  [[noreturn]] void bad(const std::string& what) const {
    throw Error(ExitCode::kData, what, "chat template, line " + std::to_string(token().line));
  }
  bool is(TokenKind kind, std::string_view text) const {
    return token().kind == kind && token().text == text;
  }
  bool is_operator(std::string_view text) const { return is(TokenKind::kOperator, text); }
  bool is_word(std::string_view text) const { return is(TokenKind::kName, text); }
  bool take(TokenKind kind, std::string_view text) {
    if (!is(kind, text)) return false;
    ++at_;
    return true;
  }
  bool take_operator(std::string_view text) { return take(TokenKind::kOperator, text); }
  bool take_word(std::string_view text) { return take(TokenKind::kName, text); }
  void expect(TokenKind kind, const std::string& what) {
    if (token().kind != kind) bad("expected " + what + " instead of '" + token().text + "'");
    ++at_;
  }
  void expect_operator(const std::string& text) {
    if (!take_operator(text)) bad("expected '" + text + "' instead of '" + token().text + "'");
  }
  std::string name() {
    expect(TokenKind::kName, "a name");
    return tokens_[at_ - 1].text;
  }

  // Of a loop that adds to a chain.
  void count_link(int& links) const {
    if (++links > kMostLinks) bad("the expression is too long");
  }

  const std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace hydrofoil::text::jinja
