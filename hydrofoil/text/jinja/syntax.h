// SPDX-License-Identifier: Apache-2.0
// A template as trees of expressions and statements.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hydrofoil/text/jinja/value.h"

namespace hydrofoil::text::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

enum class ExpressionKind : uint8_t {
  kConstant,
  kName,
  kList,       // parts
  kDict,       // parts: key, value, key, value
  kAttribute,  // parts[0].name
  kSubscript,  // parts[0][parts[1]]
  kSlice,      // parts[0][begin:end:step], null where not given
  kCall,       // parts[0](parts[1], .., named)
  kFilter,     // parts[0] | name(parts[1], .., named)
  kTest,       // parts[0] is name(parts[1], ..)
  kUnary,      // name: "-", "+", "not"
  kBinary,     // name: the operator, "and", "or", "in" among them
  kIf,         // parts[0] if parts[1] else parts[2], which may be null
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kConstant;
  int line = 0;
  std::string name = {};
  Value constant = {};
  std::vector<ExpressionPtr> parts = {};
  std::vector<std::pair<std::string, ExpressionPtr>> named = {};
};

enum class StatementKind : uint8_t {
  kText,    // name: what is printed
  kOutput,  // expression
  kIf,      // expression, body, otherwise
  kFor,     // targets in expression if condition: body, otherwise
  kSet,     // targets = expression; or targets[0] = the text of body
  kMember,  // name.targets[0] = expression
  kMacro,   // name(targets = named): body
  kFilter,  // expression is a filter of the text of body
  kBreak,
  kContinue,
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 0;
  std::string name = {};
  std::vector<std::string> targets = {};
  ExpressionPtr expression = {}, condition = {};
  std::vector<ExpressionPtr> defaults = {};  // of a macro's parameters; null: none
  std::vector<Statement> body = {}, otherwise = {};
};

// Error(kData) names the line.
std::vector<Statement> parse(std::string_view source);

}  // namespace hydrofoil::text::jinja
