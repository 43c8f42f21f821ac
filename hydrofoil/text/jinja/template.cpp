// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/jinja/template.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/jinja/builtins.h"
#include "hydrofoil/text/jinja/operators.h"
#include "hydrofoil/text/jinja/syntax.h"

namespace hydrofoil::text::jinja {
namespace {

constexpr int kMostDepth = 1500;
constexpr int64_t kMostSteps = 5'000'000;  // about a second
constexpr int64_t kLoopSteps = 10;         // that a turn of a loop costs; it makes `loop`
constexpr int64_t kStepBytes = 1024, kStepItems = 64;  // of a string, of a list, that cost one

// Variables of a loop's body or a macro, and what lies around.
struct Frame {
  Dict variables = {};
  Frame* outer = nullptr;

  const Value* find(const std::string& name) const {
    for (const auto& [key, value] : variables)
      if (key == name) return &value;
    return outer ? outer->find(name) : nullptr;
  }
  void set(const std::string& name, Value value) {
    for (auto& [key, old] : variables)
      if (key == name) {
        old = std::move(value);
        return;
      }
    variables.emplace_back(name, std::move(value));
  }
};

enum class Flow : uint8_t { kOn, kBreak, kContinue };

class Run {
 public:
  explicit Run(const nlohmann::ordered_json& variables) {
    base_.variables = globals();
    for (const auto& [name, value] : variables.items()) base_.set(name, Value(value));
    root_.outer = &base_;
  }

  std::string all(const std::vector<Statement>& body) {
    try {
      execute(body);
    } catch (const Error& error) {
      if (!error.where().empty()) throw;
      throw Error(error.code(), error.what(), "chat template, line " + std::to_string(line_));
    }
    return std::move(out_);
  }

 private:
  struct Step {
    explicit Step(Run& run) : depth(run.depth_) {
      if (++depth > kMostDepth) fail("the template calls itself too deeply");
      run.spend(1);
    }
    ~Step() { --depth; }
    int& depth;
  };

  void spend(int64_t steps) {
    if ((steps_ += steps) > kMostSteps) fail("the template runs too long");
  }
  void print(const std::string& text) {
    out_ += text;
    if (out_.size() > kMostBytes) fail("the template writes too much");
  }

  // Statements.

  Flow execute(const std::vector<Statement>& body) {
    for (const Statement& statement : body)
      if (const Flow flow = execute(statement); flow != Flow::kOn) return flow;
    return Flow::kOn;
  }
  Flow execute(const Statement& s) {
    const Step step(*this);
    line_ = s.line;
    switch (s.kind) {
      case StatementKind::kText:
        print(s.name);
        return Flow::kOn;
      case StatementKind::kOutput:
        print(evaluate(*s.expression).text());
        return Flow::kOn;
      case StatementKind::kIf:
        return execute(evaluate(*s.expression).truth() ? s.body : s.otherwise);
      case StatementKind::kFor:
        return loop(s);
      case StatementKind::kSet:
        assign(s);
        return Flow::kOn;
      case StatementKind::kMember:
        assign_member(s);
        return Flow::kOn;
      case StatementKind::kMacro:
        frame_->set(s.name, Function([this, &s](const Arguments& a) { return call(s, a); }));
        return Flow::kOn;
      case StatementKind::kFilter:
        print(filtered(*s.expression, written(s.body)).text());
        return Flow::kOn;
      case StatementKind::kBreak:
        return Flow::kBreak;
      case StatementKind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kOn;
  }

  // What a body writes, instead of writing it.
  std::string written(const std::vector<Statement>& body) {
    std::string before = std::exchange(out_, {});
    execute(body);
    return std::exchange(out_, std::move(before));
  }

  void assign(const Statement& s) {
    if (!s.expression)
      frame_->set(s.targets[0], written(s.body));
    else
      bind(s.targets, evaluate(*s.expression));
  }
  void bind(const std::vector<std::string>& targets, const Value& value) {
    if (targets.size() == 1) return frame_->set(targets[0], value);
    const List items = items_of(value);
    if (items.size() != targets.size())
      fail(std::to_string(items.size()) + " values for " + std::to_string(targets.size()) +
           " names");
    for (size_t i = 0; i < items.size(); ++i) frame_->set(targets[i], items[i]);
  }
  void assign_member(const Statement& s) {
    Value value = evaluate(*s.expression);
    const Value* space = frame_->find(s.name);
    if (!space || !space->space()) fail("'" + s.name + "' is no namespace");
    if (value.extent().space) fail("a namespace cannot hold a namespace");
    Dict& members = space->space()->members;
    const auto found = std::ranges::find(members, s.targets[0], &Dict::value_type::first);
    if (found != members.end())
      found->second = std::move(value);
    else
      members.emplace_back(s.targets[0], std::move(value));
  }

  Flow loop(const Statement& s) {
    List items = items_of(evaluate(*s.expression));
    Frame frame{.outer = frame_};
    frame_ = &frame;
    if (s.condition) {
      std::erase_if(items, [&](const Value& item) {
        bind(s.targets, item);
        return !evaluate(*s.condition).truth();
      });
    }
    for (size_t i = 0; i < items.size(); ++i) {
      spend(kLoopSteps);
      frame.variables.clear();
      frame.set("loop", loop_variable(items, i));
      bind(s.targets, items[i]);
      if (execute(s.body) == Flow::kBreak) break;
    }
    frame_ = frame.outer;
    return items.empty() ? execute(s.otherwise) : Flow::kOn;
  }
  static Value loop_variable(const List& items, size_t i) {
    const auto index = static_cast<int64_t>(i), length = static_cast<int64_t>(items.size());
    return Dict{{"index0", index},
                {"index", index + 1},
                {"revindex0", length - index - 1},
                {"revindex", length - index},
                {"first", i == 0},
                {"last", i + 1 == items.size()},
                {"length", length},
                {"previtem", i > 0 ? items[i - 1] : Value(Undefined{"previtem"})},
                {"nextitem", i + 1 < items.size() ? items[i + 1] : Value(Undefined{"nextitem"})},
                {"cycle", Function([i](const Arguments& a) -> Value {
                   if (a.values.empty()) fail("cycle needs values");
                   return a.values[i % a.values.size()];
                 })}};
  }

  // A macro sees its parameters and what the template itself has set.
  Value call(const Statement& macro, const Arguments& arguments) {
    const Step step(*this);
    Frame frame{.outer = &root_};
    for (size_t i = 0; i < macro.targets.size(); ++i) {
      const std::string& name = macro.targets[i];
      if (const Value* given = arguments.find(i, name.c_str()))
        frame.set(name, *given);
      else
        frame.set(name, macro.defaults[i] ? evaluate(*macro.defaults[i]) : Value(Undefined{name}));
    }
    Frame* before = std::exchange(frame_, &frame);
    std::string text = written(macro.body);
    frame_ = before;
    return text;
  }

  // Expressions.

  Value evaluate(const Expression& e) {
    const Step step(*this);
    line_ = e.line;
    Value value = value_of(e);
    if (const auto* text = value.string()) {
      if (text->size() > kMostBytes) fail("a string becomes too long");
      spend(static_cast<int64_t>(text->size()) / kStepBytes);
    }
    if (const auto* list = value.list()) spend(static_cast<int64_t>(list->size()) / kStepItems);
    return value;
  }
  Value value_of(const Expression& e) {
    switch (e.kind) {
      case ExpressionKind::kConstant:
        return e.constant;
      case ExpressionKind::kName: {
        const Value* found = frame_->find(e.name);
        return found ? *found : Undefined{e.name};
      }
      case ExpressionKind::kList: {
        List items;
        for (const auto& part : e.parts) items.push_back(evaluate(*part));
        return items;
      }
      case ExpressionKind::kDict:
        return dict(e);
      case ExpressionKind::kAttribute:
        return member(evaluate(*e.parts[0]), e.name);
      case ExpressionKind::kSubscript:
        return member(evaluate(*e.parts[0]), evaluate(*e.parts[1]));
      case ExpressionKind::kSlice:
        return slice(e);
      case ExpressionKind::kCall:
        return called(e);
      case ExpressionKind::kFilter:
        return filtered(e, evaluate(*e.parts[0]));
      case ExpressionKind::kTest:
        return apply_test(e.name, evaluate(*e.parts[0]), arguments(e));
      case ExpressionKind::kUnary:
        return unary(e.name, evaluate(*e.parts[0]));
      case ExpressionKind::kBinary:
        return combined(e);
      case ExpressionKind::kIf:
        if (evaluate(*e.parts[1]).truth()) return evaluate(*e.parts[0]);
        return e.parts[2] ? evaluate(*e.parts[2]) : Value(Undefined{});
    }
    return {};
  }

  Value combined(const Expression& e) {
    Value left = evaluate(*e.parts[0]);
    if (e.name == "and") return left.truth() ? evaluate(*e.parts[1]) : left;
    if (e.name == "or") return left.truth() ? left : evaluate(*e.parts[1]);
    return binary(e.name, left, evaluate(*e.parts[1]));
  }
  Value dict(const Expression& e) {
    Frame unique;  // the last of equal keys counts
    for (size_t i = 0; i < e.parts.size(); i += 2) {
      const Value key = evaluate(*e.parts[i]);
      unique.set(string_of(key), evaluate(*e.parts[i + 1]));
    }
    return std::move(unique.variables);
  }
  Value slice(const Expression& e) {
    std::optional<int64_t> bounds[3];
    for (size_t i = 0; i < 3; ++i)
      if (e.parts[i + 1]) {
        const Value bound = evaluate(*e.parts[i + 1]);
        if (!bound.is_none()) bounds[i] = integer_of(bound);
      }
    return sliced(evaluate(*e.parts[0]), bounds[0], bounds[1], bounds[2].value_or(1));
  }
  Arguments arguments(const Expression& e) {
    Arguments result;
    for (size_t i = 1; i < e.parts.size(); ++i) result.values.push_back(evaluate(*e.parts[i]));
    for (const auto& [name, part] : e.named) result.named.emplace_back(name, evaluate(*part));
    return result;
  }
  Value filtered(const Expression& e, const Value& value) {
    return apply_filter(e.name, value, arguments(e));
  }
  Value called(const Expression& e) {
    const Expression& callee = *e.parts[0];
    if (callee.kind == ExpressionKind::kAttribute) {
      const Value object = evaluate(*callee.parts[0]);
      return call_method(object, callee.name, arguments(e));
    }
    const Value function = evaluate(callee);
    if (!function.function()) fail(function.type() + " cannot be called");
    return (*function.function())(arguments(e));
  }

  Frame base_, root_;  // what comes in; what the template sets
  Frame* frame_ = &root_;
  std::string out_;
  int line_ = 1, depth_ = 0;
  int64_t steps_ = 0;
};

}  // namespace

struct Template::Body {
  std::vector<Statement> statements;
};

Template::Template(std::string_view source)
    : body_(std::make_unique<const Body>(Body{parse(source)})) {}
Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

std::string Template::render(const nlohmann::ordered_json& variables) const {
  return Run(variables).all(body_->statements);
}

}  // namespace hydrofoil::text::jinja
