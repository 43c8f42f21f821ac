// SPDX-License-Identifier: Apache-2.0
// Values of a template, with Python's truth, equality, order and text.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace hydrofoil::text::jinja {

class Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<std::string, Value>>;  // in the order of insertion

struct Undefined {
  std::string name = {};  // what was looked for
};
struct None {};

struct Arguments;
struct Namespace;
using Function = std::function<Value(const Arguments&)>;

constexpr size_t kMostParts = size_t{1} << 20;  // of a value with all that is in it
constexpr int kMostLevels = 100;                // of lists in lists

// What is in a value, counted as often as it is there: what walks through it ends soon.
struct Extent {
  size_t parts = 1;
  int levels = 0;
  bool space = false;  // a namespace is in it
};

// Lists and dictionaries cannot be changed, as in the sandbox that templates are written for; a
// namespace can.
class Value {
 public:
  Value() : data_(Undefined{}) {}
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(None) : data_(None{}) {}
  Value(bool b) : data_(b) {}
  Value(int64_t i) : data_(i) {}
  Value(double d) : data_(d) {}
  Value(std::string s) : data_(std::move(s)) {}
  Value(const char* s) : data_(std::string(s)) {}
  Value(List list);  // Error(kData) for one that is too large
  Value(Dict dict);
  Value(Namespace space);
  Value(Function function) : data_(std::make_shared<const Function>(std::move(function))) {}
  explicit Value(const nlohmann::ordered_json& json);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&data_); }
  const double* real() const { return std::get_if<double>(&data_); }
  const std::string* string() const { return std::get_if<std::string>(&data_); }
  const List* list() const;
  const Dict* dict() const;  // a namespace's members, too
  Namespace* space() const;
  const Function* function() const { return pointer<Function>(); }

  bool number() const { return boolean() || integer() || real(); }
  double as_real() const;  // Error(kData) for what is no number
  bool truth() const;
  std::string text() const;                         // as it is printed
  std::string type() const;                         // for messages
  const Value* find(const std::string& key) const;  // of a dictionary; null: not there
  Extent extent() const;

 private:
  template <class Items>
  struct Sized {
    Items items;
    Extent extent;
  };
  template <class Held>
  const Held* pointer() const {
    const auto* held = std::get_if<std::shared_ptr<const Held>>(&data_);
    return held ? held->get() : nullptr;
  }

  std::variant<Undefined, None, bool, int64_t, double, std::string,
               std::shared_ptr<const Sized<List>>, std::shared_ptr<const Sized<Dict>>,
               std::shared_ptr<Namespace>, std::shared_ptr<const Function>>
      data_;
};

// Of a call: by position and by name.
struct Arguments {
  std::vector<Value> values = {};
  Dict named = {};

  // The i-th or the one of this name; null: neither.
  const Value* find(size_t i, const char* name) const;
  const Value& at(size_t i, const char* name) const;  // Error(kData) without it
};
struct Namespace {
  Dict members = {};
};

inline Value::Value(Namespace space) : data_(std::make_shared<Namespace>(std::move(space))) {}

[[noreturn]] void fail(const std::string& message);  // Error(kData)

bool equal(const Value& a, const Value& b);
bool less(const Value& a, const Value& b);  // Error(kData) for what has no order
bool contains(const Value& container, const Value& item);
// The items of a list, the keys of a dictionary, the characters of a string; undefined: none.
List items_of(const Value& value);
std::vector<std::string> characters(const std::string& text);  // UTF-8

std::string repr(const Value& value);  // as Python shows it in a list
struct JsonStyle {
  int indent = -1;  // spaces a level; negative: on one line
  bool sort_keys = false;
  bool ascii = false;  // \u for other characters
};
std::string to_json(const Value& value, const JsonStyle& style);

}  // namespace hydrofoil::text::jinja
