// SPDX-License-Identifier: Apache-2.0
// Inside the parser: expressions, from the loosest binding to the tightest.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "hydrofoil/text/jinja/cursor.h"
#include "hydrofoil/text/jinja/syntax.h"

namespace hydrofoil::text::jinja {

class ExpressionParser : public Cursor {
 public:
  using Cursor::Cursor;

 protected:
  ExpressionPtr list_or_expression();  // "a, b" is a list
  ExpressionPtr expression();
  ExpressionPtr disjunction();                // one without "if"
  ExpressionPtr filter(ExpressionPtr value);  // behind "|"
  ExpressionPtr make_constant(Value value) const;

 private:
  using Next = ExpressionPtr (ExpressionParser::*)();

  ExpressionPtr make(ExpressionKind kind, std::string name, ExpressionPtr a = {},
                     ExpressionPtr b = {}) const;
  std::unique_ptr<Expression> node(ExpressionKind kind, std::string name = {}) const;
  ExpressionPtr left_to_right(std::initializer_list<std::string_view> operators, Next next);
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary();
  ExpressionPtr signed_value();
  ExpressionPtr primary();
  Value number(const Token& digits) const;
  ExpressionPtr name_or_constant(const std::string& word);
  ExpressionPtr parenthesised();
  ExpressionPtr list(const std::string& end, ExpressionPtr first = {});
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr value);
  ExpressionPtr subscript(ExpressionPtr value);
  ExpressionPtr with_arguments(ExpressionKind kind, std::string of, ExpressionPtr value);
  ExpressionPtr filters(ExpressionPtr value);
  ExpressionPtr test(ExpressionPtr value);
};

}  // namespace hydrofoil::text::jinja
