// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

namespace hydrofoil::text::jinja {

std::unique_ptr<Expression> ExpressionParser::node(ExpressionKind kind, std::string name) const {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->line = token().line;
  made->name = std::move(name);
  return made;
}

ExpressionPtr ExpressionParser::make(ExpressionKind kind, std::string name, ExpressionPtr a,
                                     ExpressionPtr b) const {
  auto made = node(kind, std::move(name));
  if (a) made->parts.push_back(std::move(a));
  if (b) made->parts.push_back(std::move(b));
  return made;
}

ExpressionPtr ExpressionParser::make_constant(Value value) const {
  auto made = node(ExpressionKind::kConstant);
  made->constant = std::move(value);
  return made;
}

ExpressionPtr ExpressionParser::list_or_expression() {
  auto first = expression();
  if (!is_operator(",")) return first;
  auto list = this->node(ExpressionKind::kList);
  list->parts.push_back(std::move(first));
  while (take_operator(",")) list->parts.push_back(expression());
  return list;
}

ExpressionPtr ExpressionParser::expression() {
  const Nesting nesting(*this);
  auto value = disjunction();
  for (int links = 0; take_word("if"); count_link(links)) {
    auto node = this->node(ExpressionKind::kIf);
    node->parts.push_back(std::move(value));
    node->parts.push_back(disjunction());
    node->parts.push_back(take_word("else") ? expression() : nullptr);
    value = std::move(node);
  }
  return value;
}

ExpressionPtr ExpressionParser::left_to_right(std::initializer_list<std::string_view> operators,
                                              Next next) {
  auto left = (this->*next)();
  for (int links = 0;; count_link(links)) {
    const auto* op = std::ranges::find_if(operators, [this](std::string_view candidate) {
      return take_operator(candidate) || take_word(candidate);
    });
    if (op == operators.end()) return left;
    left = make(ExpressionKind::kBinary, std::string(*op), std::move(left), (this->*next)());
  }
}

ExpressionPtr ExpressionParser::disjunction() {
  return left_to_right({"or"}, &ExpressionParser::conjunction);
}
ExpressionPtr ExpressionParser::conjunction() {
  return left_to_right({"and"}, &ExpressionParser::negation);
}
ExpressionPtr ExpressionParser::negation() {
  const Nesting nesting(*this);
  if (take_word("not")) return make(ExpressionKind::kUnary, "not", negation());
  return comparison();
}

ExpressionPtr ExpressionParser::comparison() {
  auto left = sum();
  for (int links = 0;; count_link(links)) {
    const size_t before = at_;
    const bool negated = take_word("not");
    if (take_word("in")) {
      left = make(ExpressionKind::kBinary, "in", std::move(left), sum());
      if (negated) left = make(ExpressionKind::kUnary, "not", std::move(left));
      continue;
    }
    at_ = before;
    std::string op;
    for (const auto* candidate : {"==", "!=", "<=", ">=", "<", ">"})
      if (op.empty() && take_operator(candidate)) op = candidate;
    if (op.empty()) return left;
    left = make(ExpressionKind::kBinary, op, std::move(left), sum());
  }
}

ExpressionPtr ExpressionParser::sum() {
  return left_to_right({"+", "-"}, &ExpressionParser::concatenation);
}
ExpressionPtr ExpressionParser::concatenation() {
  return left_to_right({"~"}, &ExpressionParser::product);
}
ExpressionPtr ExpressionParser::product() {
  return left_to_right({"*", "//", "/", "%"}, &ExpressionParser::power);
}
ExpressionPtr ExpressionParser::power() {
  return left_to_right({"**"}, &ExpressionParser::unary);
}
ExpressionPtr ExpressionParser::unary() {
  return filters(signed_value());
}
ExpressionPtr ExpressionParser::signed_value() {
  const Nesting nesting(*this);
  if (take_operator("-")) return make(ExpressionKind::kUnary, "-", signed_value());
  if (take_operator("+")) return signed_value();
  return postfix(primary());
}

ExpressionPtr ExpressionParser::primary() {
  const Nesting nesting(*this);
  const Token& now = token();
  switch (now.kind) {
    case TokenKind::kString: {
      std::string text;
      for (; token().kind == TokenKind::kString; ++at_) text += token().text;
      return make_constant(std::move(text));
    }
    case TokenKind::kInteger:
    case TokenKind::kReal:
      ++at_;
      return make_constant(number(now));
    case TokenKind::kName:
      ++at_;
      return name_or_constant(now.text);
    default:
      break;
  }
  if (take_operator("(")) {
    if (take_operator(")")) return make(ExpressionKind::kList, "");
    auto inner = parenthesised();
    return inner;
  }
  if (take_operator("[")) return list("]");
  if (take_operator("{")) return dict();
  bad("expected a value instead of '" + now.text + "'");
}

Value ExpressionParser::number(const Token& digits) const {
  const char *begin = digits.text.data(), *end = begin + digits.text.size();
  int64_t integer = 0;
  double real = 0;
  const bool whole = digits.kind == TokenKind::kInteger;
  const auto error =
      whole ? std::from_chars(begin, end, integer).ec : std::from_chars(begin, end, real).ec;
  if (error != std::errc()) bad("the number " + digits.text + " is too large");
  return whole ? Value(integer) : Value(real);
}

ExpressionPtr ExpressionParser::name_or_constant(const std::string& word) {
  if (word == "true" || word == "True") return make_constant(true);
  if (word == "false" || word == "False") return make_constant(false);
  if (word == "none" || word == "None") return make_constant(None{});
  return make(ExpressionKind::kName, word);
}

ExpressionPtr ExpressionParser::parenthesised() {
  auto first = expression();
  if (take_operator(")")) return first;
  expect_operator(",");
  return list(")", std::move(first));
}

ExpressionPtr ExpressionParser::list(const std::string& end, ExpressionPtr first) {
  auto node = this->node(ExpressionKind::kList);
  if (first) node->parts.push_back(std::move(first));
  while (!take_operator(end)) {
    node->parts.push_back(expression());
    if (!is_operator(end)) expect_operator(",");
  }
  return node;
}

ExpressionPtr ExpressionParser::dict() {
  auto node = this->node(ExpressionKind::kDict);
  while (!take_operator("}")) {
    node->parts.push_back(expression());
    expect_operator(":");
    node->parts.push_back(expression());
    if (!is_operator("}")) expect_operator(",");
  }
  return node;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr value) {
  for (int links = 0;; count_link(links)) {
    if (take_operator("."))
      value = make(ExpressionKind::kAttribute, name(), std::move(value));
    else if (take_operator("["))
      value = subscript(std::move(value));
    else if (take_operator("("))
      value = with_arguments(ExpressionKind::kCall, "", std::move(value));
    else
      return value;
  }
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr value) {
  auto node = this->node(ExpressionKind::kSubscript);
  node->parts.push_back(std::move(value));
  bool slice = false;
  while (!take_operator("]")) {
    if (take_operator(":")) {
      if (!slice && node->parts.size() == 1) node->parts.push_back(nullptr);
      slice = true;
      if (is_operator("]") || is_operator(":")) node->parts.push_back(nullptr);
    } else {
      node->parts.push_back(expression());
    }
    if (node->parts.size() > 4) bad("a slice has three parts");
  }
  node->kind = slice ? ExpressionKind::kSlice : ExpressionKind::kSubscript;
  if (!slice && node->parts.size() != 2) bad("expected one index");
  node->parts.resize(slice ? 4 : 2);
  return node;
}

// Behind "(".
ExpressionPtr ExpressionParser::with_arguments(ExpressionKind kind, std::string of,
                                               ExpressionPtr value) {
  auto node = this->node(kind, std::move(of));
  node->parts.push_back(std::move(value));
  while (!take_operator(")")) {
    if (token().kind == TokenKind::kName && token(1).kind == TokenKind::kOperator &&
        token(1).text == "=") {
      std::string key = name();
      ++at_;
      node->named.emplace_back(std::move(key), expression());
    } else {
      node->parts.push_back(expression());
    }
    if (!is_operator(")")) expect_operator(",");
  }
  return node;
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr value) {
  for (int links = 0;; count_link(links)) {
    if (take_operator("|"))
      value = filter(std::move(value));
    else if (take_word("is"))
      value = test(std::move(value));
    else
      return value;
  }
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr value) {
  std::string which = name();
  if (take_operator("(")) return with_arguments(ExpressionKind::kFilter, which, std::move(value));
  return make(ExpressionKind::kFilter, which, std::move(value));
}

ExpressionPtr ExpressionParser::test(ExpressionPtr value) {
  const bool negated = take_word("not");
  std::string which = name();
  static const std::set<std::string> kNoArgument = {"else", "or", "and", "if", "is", "in", "not"};
  const Token& next = token();
  ExpressionPtr result;
  if (take_operator("("))
    result = with_arguments(ExpressionKind::kTest, which, std::move(value));
  else if (next.kind == TokenKind::kString || next.kind == TokenKind::kInteger ||
           is_operator("[") || (next.kind == TokenKind::kName && !kNoArgument.contains(next.text)))
    result = make(ExpressionKind::kTest, which, std::move(value), postfix(primary()));
  else
    result = make(ExpressionKind::kTest, which, std::move(value));
  return negated ? make(ExpressionKind::kUnary, "not", std::move(result)) : std::move(result);
}

}  // namespace hydrofoil::text::jinja
