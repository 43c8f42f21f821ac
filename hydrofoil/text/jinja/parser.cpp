// SPDX-License-Identifier: Apache-2.0
// Statements.
#include <initializer_list>

#include "hydrofoil/text/jinja/expression_parser.h"
#include "hydrofoil/text/jinja/syntax.h"

namespace hydrofoil::text::jinja {
namespace {

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  std::vector<Statement> run() {
    auto all = body({});
    if (token().kind != TokenKind::kEnd) bad("unexpected tag '" + token().text + "'");
    return all;
  }

 private:
  // Up to a block whose first word is one of these; at_ is on that word.
  std::vector<Statement> body(std::initializer_list<std::string_view> ends) {
    const Nesting nesting(*this);
    std::vector<Statement> all;
    while (token().kind != TokenKind::kEnd) {
      if (token().kind == TokenKind::kText) {
        all.push_back({.kind = StatementKind::kText, .line = token().line, .name = token().text});
        ++at_;
      } else if (token().kind == TokenKind::kOutputBegin) {
        Statement output{.kind = StatementKind::kOutput, .line = token().line};
        ++at_;
        output.expression = list_or_expression();
        expect(TokenKind::kOutputEnd, "'}}'");
        all.push_back(std::move(output));
      } else {
        expect(TokenKind::kBlockBegin, "a tag");
        for (const auto end : ends)
          if (is_word(end)) return all;
        block(all);
      }
    }
    if (ends.size() > 0) bad("'" + std::string(*ends.begin()) + "' is missing");
    return all;
  }
  void end_block(std::string_view word) {
    if (!take_word(word)) bad("expected '" + std::string(word) + "'");
    expect(TokenKind::kBlockEnd, "'%}'");
  }

  void block(std::vector<Statement>& all) {
    Statement statement{.line = token().line};
    const std::string word = name();
    if (word == "generation") {  // marks what an assistant said: no matter here
      expect(TokenKind::kBlockEnd, "'%}'");
      for (auto& inner : body({"endgeneration"})) all.push_back(std::move(inner));
      return end_block("endgeneration");
    }
    if (word == "if")
      if_block(statement);
    else if (word == "for")
      for_block(statement);
    else if (word == "set")
      set_block(statement);
    else if (word == "macro")
      macro_block(statement);
    else if (word == "filter")
      filter_block(statement);
    else if (word == "break" || word == "continue") {
      statement.kind = word == "break" ? StatementKind::kBreak : StatementKind::kContinue;
      expect(TokenKind::kBlockEnd, "'%}'");
    } else {
      bad("unknown tag '" + word + "'");
    }
    all.push_back(std::move(statement));
  }

  void if_block(Statement& statement) {
    const Nesting nesting(*this);  // of chains of elif, too
    statement.kind = StatementKind::kIf;
    statement.expression = expression();
    expect(TokenKind::kBlockEnd, "'%}'");
    statement.body = body({"endif", "elif", "else"});
    if (take_word("elif")) {
      Statement next{.line = token().line};
      if_block(next);
      statement.otherwise.push_back(std::move(next));
      return;
    }
    if (take_word("else")) {
      expect(TokenKind::kBlockEnd, "'%}'");
      statement.otherwise = body({"endif"});
    }
    end_block("endif");
  }

  void for_block(Statement& statement) {
    statement.kind = StatementKind::kFor;
    const bool closed = take_operator("(");
    do statement.targets.push_back(name());
    while (take_operator(","));
    if (closed) expect_operator(")");
    if (!take_word("in")) bad("expected 'in'");
    statement.expression = disjunction();
    if (take_word("if")) statement.condition = expression();
    take_word("recursive");
    expect(TokenKind::kBlockEnd, "'%}'");
    statement.body = body({"endfor", "else"});
    if (take_word("else")) {
      expect(TokenKind::kBlockEnd, "'%}'");
      statement.otherwise = body({"endfor"});
    }
    end_block("endfor");
  }

  void set_block(Statement& statement) {
    statement.kind = StatementKind::kSet;
    do statement.targets.push_back(name());
    while (take_operator(","));
    if (take_operator(".")) {
      statement.kind = StatementKind::kMember;
      statement.name = statement.targets[0];
      statement.targets = {name()};
    }
    if (take_operator("=")) {
      statement.expression = list_or_expression();
      expect(TokenKind::kBlockEnd, "'%}'");
      return;
    }
    expect(TokenKind::kBlockEnd, "'='");
    statement.body = body({"endset"});
    end_block("endset");
  }

  void macro_block(Statement& statement) {
    statement.kind = StatementKind::kMacro;
    statement.name = name();
    expect_operator("(");
    while (!take_operator(")")) {
      statement.targets.push_back(name());
      statement.defaults.push_back(take_operator("=") ? expression() : nullptr);
      if (!is_operator(")")) expect_operator(",");
    }
    expect(TokenKind::kBlockEnd, "'%}'");
    statement.body = body({"endmacro"});
    end_block("endmacro");
  }

  void filter_block(Statement& statement) {
    statement.kind = StatementKind::kFilter;
    statement.expression = filter(make_constant(""));
    expect(TokenKind::kBlockEnd, "'%}'");
    statement.body = body({"endfilter"});
    end_block("endfilter");
  }
};

}  // namespace

std::vector<Statement> parse(std::string_view source) {
  return Parser(source).run();
}

}  // namespace hydrofoil::text::jinja
