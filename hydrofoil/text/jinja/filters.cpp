// SPDX-License-Identifier: Apache-2.0
// Filters, tests and global functions.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <map>

#include "hydrofoil/text/jinja/builtins.h"
#include "hydrofoil/text/jinja/operators.h"

namespace hydrofoil::text::jinja {
namespace {

using Filter = Value (*)(const Value&, const Arguments&);
using Test = bool (*)(const Value&, const Arguments&);

int64_t length(const Value& value) {
  if (value.dict()) return static_cast<int64_t>(value.dict()->size());
  if (!value.list() && !value.string() && !value.is_undefined())
    fail(value.type() + " has no length");
  return static_cast<int64_t>(items_of(value).size());
}

// By a path of members, "a.b"; `absent` stands for what is not there.
Value by_attribute(const Value& value, const std::string& path, const Value* absent = nullptr) {
  Value now = value;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    now = member(now, path.substr(begin, end - begin));
    if (now.is_undefined() && absent) now = *absent;
    begin = end + 1;
  }
  return now;
}

Value key_of(const Value& value, const Value* attribute) {
  return attribute && attribute->string() ? by_attribute(value, *attribute->string()) : value;
}

List sorted(const Value& value, const Arguments& arguments) {
  List items = items_of(value);
  const Value* attribute = arguments.find(2, "attribute");
  const Value *reverse = arguments.find(0, "reverse"), *exact = arguments.find(1, "case_sensitive");
  const auto key = [&](const Value& item) {
    Value found = key_of(item, attribute);
    if (found.string() && !(exact && exact->truth())) return call_method(found, "lower", {});
    return found;
  };
  const bool down = reverse && reverse->truth();
  std::ranges::stable_sort(items, [&](const Value& a, const Value& b) {
    return down ? less(key(b), key(a)) : less(key(a), key(b));
  });
  return items;
}

List dict_sorted(const Value& value, const Arguments& arguments) {
  const Value* by = arguments.find(1, "by");
  const int64_t column = by && by->string() && *by->string() == "value" ? 1 : 0;
  List pairs = items_of(call_method(value, "items", {}));
  const auto key = [&](const Value& pair) {
    const Value found = (*pair.list())[static_cast<size_t>(column)];
    return found.string() ? call_method(found, "lower", {}) : found;
  };
  std::ranges::stable_sort(pairs,
                           [&](const Value& a, const Value& b) { return less(key(a), key(b)); });
  return pairs;
}

Arguments rest(const Arguments& arguments, size_t from) {
  Arguments result;
  if (arguments.values.size() > from)
    result.values.assign(arguments.values.begin() + static_cast<ptrdiff_t>(from),
                         arguments.values.end());
  return result;
}

// select(test, ..) and selectattr(attribute, test, ..); without a test: truth.
List selected(const Value& value, const Arguments& arguments, bool by_member, bool wanted) {
  const size_t first = by_member ? 1 : 0;
  const Value* test = arguments.find(first, "test");
  const Arguments of_test = rest(arguments, first + 1);
  List result;
  if (!value.truth()) return result;
  for (const Value& item : items_of(value)) {
    const Value checked =
        by_member ? by_attribute(item, string_of(arguments.at(0, "attribute"))) : item;
    const bool passes = test ? apply_test(string_of(*test), checked, of_test) : checked.truth();
    if (passes == wanted) result.push_back(item);
  }
  return result;
}

List mapped(const Value& value, const Arguments& arguments) {
  List result;
  const Value* attribute = arguments.values.empty() ? arguments.find(0, "attribute") : nullptr;
  const Value* absent = attribute ? arguments.find(1, "default") : nullptr;
  for (const Value& item : items_of(value)) {
    if (!attribute) {
      result.push_back(
          apply_filter(string_of(arguments.at(0, "filter")), item, rest(arguments, 1)));
      continue;
    }
    result.push_back(by_attribute(item, string_of(*attribute), absent));
  }
  return result;
}

List unique(const Value& value) {
  List result;
  if (length(value) > 10000) fail("unique: more than 10000 items");
  for (const Value& item : items_of(value))
    if (std::ranges::none_of(result, [&](const Value& seen) { return equal(seen, item); }))
      result.push_back(item);
  return result;
}

Value reversed(const Value& value) {
  List items = items_of(value);
  std::ranges::reverse(items);
  if (value.string()) return joined(items, "");
  return items;
}

Value integer_from(const Value& value, const Arguments& arguments) {
  const Value* absent = arguments.find(0, "default");
  const Value otherwise = absent ? *absent : Value(int64_t{0});
  if (value.integer()) return value;
  if (value.number()) {
    const double real = std::trunc(value.as_real());
    return std::abs(real) < 9e18 ? Value(static_cast<int64_t>(real)) : otherwise;
  }
  if (!value.string()) return otherwise;
  const std::string text = *call_method(value, "strip", {}).string();
  int64_t integer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), integer);
  return error == std::errc() && end == text.data() + text.size() ? Value(integer) : otherwise;
}

Value real_from(const Value& value, const Arguments& arguments) {
  if (value.number()) return value.as_real();
  const Value* absent = arguments.find(0, "default");
  double real = 0;
  if (value.string() &&
      std::from_chars(value.string()->data(), value.string()->data() + value.string()->size(), real)
              .ec == std::errc())
    return real;
  return absent ? *absent : Value(0.0);
}

// All lines but the first (and, unless told, the empty ones) move to the right.
Value indented(const Value& value, const Arguments& arguments) {
  const Value *width = arguments.find(0, "width"), *first = arguments.find(1, "first"),
              *blank = arguments.find(2, "blank");
  const std::string space =
      width && width->string()
          ? *width->string()
          : std::string(
                static_cast<size_t>(std::clamp<int64_t>(width ? integer_of(*width) : 4, 0, 1000)),
                ' ');
  const Arguments by_line{.values = {"\n"}};
  List lines = items_of(call_method(value, "split", by_line));
  size_t bytes = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    const bool wanted = i == 0 ? first && first->truth() : true;
    if (wanted && (!lines[i].string()->empty() || (blank && blank->truth())))
      lines[i] = space + *lines[i].string();
    if ((bytes += lines[i].string()->size()) > kMostBytes) fail("a string becomes too long");
  }
  return joined(lines, "\n");
}

Value as_json(const Value& value, const Arguments& arguments) {
  const Value *ascii = arguments.find(0, "ensure_ascii"), *indent = arguments.find(1, "indent"),
              *sort = arguments.find(3, "sort_keys");
  if (arguments.values.size() == 1 && arguments.values[0].integer())
    ascii = nullptr, indent = &arguments.values[0];
  JsonStyle style;
  if (indent && !indent->is_none())
    style.indent = static_cast<int>(std::clamp<int64_t>(integer_of(*indent), 0, 64));
  style.sort_keys = sort && sort->truth();
  style.ascii = ascii && ascii->truth();
  return to_json(value, style);
}

Value rounded(const Value& value, const Arguments& arguments) {
  const Value* digits = arguments.find(0, "precision");
  const double scale = std::pow(10.0, digits ? static_cast<double>(integer_of(*digits)) : 0.0);
  return std::nearbyint(value.as_real() * scale) / scale;
}

Value total(const Value& value, const Arguments& arguments) {
  double sum = 0;
  bool whole = true;
  for (const Value& item : items_of(value)) {
    const Value number = key_of(item, arguments.find(0, "attribute"));
    sum += number.as_real();
    whole = whole && !number.real();
  }
  return whole && std::abs(sum) < 9e15 ? Value(static_cast<int64_t>(sum)) : Value(sum);
}

Value extreme(const Value& value, bool largest) {
  const List items = items_of(value);
  if (items.empty()) return Undefined{};
  return largest ? *std::ranges::max_element(items, less) : *std::ranges::min_element(items, less);
}

Value or_default(const Value& value, const Arguments& arguments) {
  const Value* absent = arguments.find(0, "default_value");
  const Value* falsy = arguments.find(1, "boolean");
  const bool take = value.is_undefined() || (falsy && falsy->truth() && !value.truth());
  return take ? (absent ? *absent : Value("")) : value;
}

Value ends_of(const Value& value, bool first) {
  const List items = items_of(value);
  if (items.empty()) return Undefined{};
  return first ? items.front() : items.back();
}

Value absolute(const Value& value) {
  if (value.integer()) return *value.integer() < 0 ? unary("-", value) : value;
  return std::abs(value.as_real());
}

#define HYDROFOIL_FILTER(body) \
  [](const Value& v, [[maybe_unused]] const Arguments& a) -> Value { return body; }
const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> all = {
      {"length", HYDROFOIL_FILTER(length(v))},
      {"count", HYDROFOIL_FILTER(length(v))},
      {"trim", HYDROFOIL_FILTER(call_method(v.text(), "strip", a))},
      {"upper", HYDROFOIL_FILTER(call_method(v.text(), "upper", a))},
      {"lower", HYDROFOIL_FILTER(call_method(v.text(), "lower", a))},
      {"title", HYDROFOIL_FILTER(call_method(v.text(), "title", a))},
      {"capitalize", HYDROFOIL_FILTER(call_method(v.text(), "capitalize", a))},
      {"replace", HYDROFOIL_FILTER(call_method(v.text(), "replace", a))},
      {"tojson", HYDROFOIL_FILTER(as_json(v, a))},
      {"indent", HYDROFOIL_FILTER(indented(v, a))},
      {"string", HYDROFOIL_FILTER(v.text())},
      {"safe", HYDROFOIL_FILTER(v)},
      {"list", HYDROFOIL_FILTER(items_of(v))},
      {"items", HYDROFOIL_FILTER(v.is_undefined() ? Value(List{}) : call_method(v, "items", {}))},
      {"dictsort", HYDROFOIL_FILTER(dict_sorted(v, a))},
      {"join",
       HYDROFOIL_FILTER(joined(a.find(1, "attribute")
                                   ? mapped(v, {.named = {{"attribute", *a.find(1, "attribute")}}})
                                   : items_of(v),
                               a.find(0, "d") ? a.find(0, "d")->text() : ""))},
      {"first", HYDROFOIL_FILTER(ends_of(v, true))},
      {"last", HYDROFOIL_FILTER(ends_of(v, false))},
      {"default", HYDROFOIL_FILTER(or_default(v, a))},
      {"d", HYDROFOIL_FILTER(or_default(v, a))},
      {"int", HYDROFOIL_FILTER(integer_from(v, a))},
      {"float", HYDROFOIL_FILTER(real_from(v, a))},
      {"abs", HYDROFOIL_FILTER(absolute(v))},
      {"round", HYDROFOIL_FILTER(rounded(v, a))},
      {"sum", HYDROFOIL_FILTER(total(v, a))},
      {"min", HYDROFOIL_FILTER(extreme(v, false))},
      {"max", HYDROFOIL_FILTER(extreme(v, true))},
      {"sort", HYDROFOIL_FILTER(sorted(v, a))},
      {"unique", HYDROFOIL_FILTER(unique(v))},
      {"reverse", HYDROFOIL_FILTER(reversed(v))},
      {"map", HYDROFOIL_FILTER(mapped(v, a))},
      {"select", HYDROFOIL_FILTER(selected(v, a, false, true))},
      {"reject", HYDROFOIL_FILTER(selected(v, a, false, false))},
      {"selectattr", HYDROFOIL_FILTER(selected(v, a, true, true))},
      {"rejectattr", HYDROFOIL_FILTER(selected(v, a, true, false))}};
  return all;
}
#undef HYDROFOIL_FILTER

const std::map<std::string, Test>& tests() {
  static const std::map<std::string, Test> all = {
      {"defined", [](const Value& v, const Arguments&) { return !v.is_undefined(); }},
      {"undefined", [](const Value& v, const Arguments&) { return v.is_undefined(); }},
      {"none", [](const Value& v, const Arguments&) { return v.is_none(); }},
      {"string", [](const Value& v, const Arguments&) { return v.string() != nullptr; }},
      {"boolean", [](const Value& v, const Arguments&) { return v.boolean() != nullptr; }},
      {"true", [](const Value& v, const Arguments&) { return v.boolean() && *v.boolean(); }},
      {"false", [](const Value& v, const Arguments&) { return v.boolean() && !*v.boolean(); }},
      {"number", [](const Value& v, const Arguments&) { return v.number(); }},
      {"integer", [](const Value& v, const Arguments&) { return v.integer() != nullptr; }},
      {"float", [](const Value& v, const Arguments&) { return v.real() != nullptr; }},
      {"mapping", [](const Value& v, const Arguments&) { return v.dict() && !v.space(); }},
      {"iterable",
       [](const Value& v, const Arguments&) {
         return v.list() || v.string() || (v.dict() && !v.space()) || v.is_undefined();
       }},
      {"sequence",
       [](const Value& v, const Arguments&) {
         return v.list() || v.string() || (v.dict() && !v.space()) || v.is_undefined();
       }},
      {"callable", [](const Value& v, const Arguments&) { return v.function() != nullptr; }},
      {"in", [](const Value& v, const Arguments& a) { return contains(a.at(0, "seq"), v); }},
      {"eq", [](const Value& v, const Arguments& a) { return equal(v, a.at(0, "other")); }},
      {"ne", [](const Value& v, const Arguments& a) { return !equal(v, a.at(0, "other")); }},
      {"lt", [](const Value& v, const Arguments& a) { return less(v, a.at(0, "other")); }},
      {"gt", [](const Value& v, const Arguments& a) { return less(a.at(0, "other"), v); }},
      {"le", [](const Value& v, const Arguments& a) { return !less(a.at(0, "other"), v); }},
      {"ge", [](const Value& v, const Arguments& a) { return !less(v, a.at(0, "other")); }},
      {"odd", [](const Value& v, const Arguments&) { return integer_of(v) % 2 != 0; }},
      {"even", [](const Value& v, const Arguments&) { return integer_of(v) % 2 == 0; }},
      {"divisibleby", [](const Value& v, const Arguments& a) {
         const int64_t by = integer_of(a.at(0, "num"));
         if (by == 0) fail("division by zero");
         return by == -1 || integer_of(v) % by == 0;
       }}};
  return all;
}

Value range(const Arguments& arguments) {
  const bool one = arguments.values.size() == 1;
  const int64_t begin = one ? 0 : integer_of(arguments.at(0, "start")),
                end = integer_of(arguments.at(one ? 0 : 1, "stop")),
                step = arguments.values.size() > 2 ? integer_of(arguments.values[2]) : 1;
  if (step == 0) fail("range: a step of zero");
  List items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (items.size() == 100000) fail("range: more than 100000 items");
    items.push_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return items;
}

Value now(const Arguments& arguments) {
  const std::time_t seconds = std::time(nullptr);
  std::tm local = {};
  localtime_r(&seconds, &local);
  char text[256];
  const std::string& format = string_of(arguments.at(0, "format"));
  return std::string(text, std::strftime(text, sizeof(text), format.c_str(), &local));
}

}  // namespace

Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments) {
  const auto found = filters().find(name);
  if (found == filters().end()) fail("unknown filter '" + name + "'");
  return found->second(value, arguments);
}

bool apply_test(const std::string& name, const Value& value, const Arguments& arguments) {
  static const std::map<std::string, std::string> kOther = {
      {"equalto", "eq"},     {"==", "eq"}, {"!=", "ne"}, {"<", "lt"}, {"lessthan", "lt"},
      {"greaterthan", "gt"}, {">", "gt"},  {"<=", "le"}, {">=", "ge"}};
  const auto other = kOther.find(name);
  const auto found = tests().find(other == kOther.end() ? name : other->second);
  if (found == tests().end()) fail("unknown test '" + name + "'");
  return found->second(value, arguments);
}

const Dict& globals() {
  static const Dict all = {
      {"range", Function(range)},
      {"namespace", Function([](const Arguments& a) { return Namespace{a.named}; })},
      {"dict", Function([](const Arguments& a) { return Value(a.named); })},
      {"raise_exception", Function([](const Arguments& a) -> Value {
         fail("the template refuses: " + a.at(0, "message").text());
       })},
      {"strftime_now", Function(now)}};
  return all;
}

Value member(const Value& object, const Value& key) {
  if (object.is_undefined()) fail(object.type() + " has no members");
  if (object.dict()) {
    const Value* found = key.string() ? object.find(*key.string()) : nullptr;
    return found ? *found : Undefined{key.text()};
  }
  if (key.integer() && (object.list() || object.string())) {
    const List of_string = object.list() ? List() : items_of(object);
    const List& items = object.list() ? *object.list() : of_string;
    const auto size = static_cast<int64_t>(items.size());
    const int64_t at = *key.integer() < 0 ? *key.integer() + size : *key.integer();
    return at >= 0 && at < size ? items[static_cast<size_t>(at)] : Value(Undefined{key.text()});
  }
  return Undefined{key.text()};
}

}  // namespace hydrofoil::text::jinja
