// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "hydrofoil/core/error.h"

namespace hydrofoil::text::jinja {
namespace {

std::string between(const char* before, const std::string& text, const char* after) {
  std::string out = before;
  return out.append(text).append(after);
}

// The shortest digits that give the number back, laid out as Python does.
std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char digits[400];
  const double size = std::abs(value);
  const bool fixed = value == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = fixed ? std::chars_format::fixed : std::chars_format::scientific;
  std::string text(digits, std::to_chars(digits, digits + sizeof(digits), value, format).ptr);
  if (fixed && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string quoted(const std::string& text) {
  const char quote =
      text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\r')
      out += "\\r";
    else
      out += c;
  }
  return out + quote;
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  std::string take() { return std::move(out_); }
  void write(const Value& value, int level) {
    if (const auto* list = value.list()) {
      out_ += '[';
      for (size_t i = 0; i < list->size(); ++i) {
        begin_item(i, level);
        write((*list)[i], level + 1);
      }
      end_items(list->empty(), level);
      out_ += ']';
    } else if (const auto* dict = value.dict(); dict && !value.space()) {
      write_dict(*dict, level);
    } else if (value.string()) {
      write_string(*value.string());
    } else if (value.boolean()) {
      out_ += *value.boolean() ? "true" : "false";
    } else if (value.is_none()) {
      out_ += "null";
    } else if (value.number()) {
      out_ += value.text();
    } else {
      fail(value.type() + " cannot be written as JSON");
    }
  }

 private:
  void write_dict(Dict dict, int level) {
    if (style_.sort_keys)
      std::ranges::stable_sort(dict, {}, [](const auto& item) { return item.first; });
    out_ += '{';
    for (size_t i = 0; i < dict.size(); ++i) {
      begin_item(i, level);
      write_string(dict[i].first);
      out_ += ": ";
      write(dict[i].second, level + 1);
    }
    end_items(dict.empty(), level);
    out_ += '}';
  }
  void write_string(const std::string& text) {
    out_ += nlohmann::json(text).dump(-1, ' ', style_.ascii);
  }
  void begin_item(size_t i, int level) {
    if (i > 0) out_ += style_.indent < 0 ? ", " : ",";
    if (style_.indent >= 0) line(level + 1);
  }
  void end_items(bool none, int level) {
    if (style_.indent >= 0 && !none) line(level);
  }
  void line(int level) {
    out_ += '\n';
    out_.append(static_cast<size_t>(style_.indent * level), ' ');
  }

  const JsonStyle style_;
  std::string out_;
};

}  // namespace

void fail(const std::string& message) {
  throw Error(ExitCode::kData, message);
}

const Value* Arguments::find(size_t i, const char* name) const {
  if (i < values.size()) return &values[i];
  for (const auto& [key, value] : named)
    if (key == name) return &value;
  return nullptr;
}

const Value& Arguments::at(size_t i, const char* name) const {
  const Value* value = find(i, name);
  if (!value) fail(std::string("the argument ") + name + " is missing");
  return *value;
}

Value::Value(const nlohmann::ordered_json& json) {
  if (json.is_object()) {
    Dict dict;
    for (const auto& [key, value] : json.items()) dict.emplace_back(key, Value(value));
    *this = Value(std::move(dict));
  } else if (json.is_array()) {
    List list;
    for (const auto& value : json) list.push_back(Value(value));
    *this = Value(std::move(list));
  } else if (json.is_string()) {
    data_ = json.get<std::string>();
  } else if (json.is_boolean()) {
    data_ = json.get<bool>();
  } else if (json.is_number_integer()) {
    data_ = json.get<int64_t>();
  } else if (json.is_number()) {
    data_ = json.get<double>();
  } else {
    data_ = None{};
  }
}

namespace {

const Value& value_of(const Value& item) {
  return item;
}
const Value& value_of(const Dict::value_type& item) {
  return item.second;
}

template <class Items>
Extent extent_of(const Items& items) {
  Extent all;
  for (const auto& item : items) {
    const Extent one = value_of(item).extent();
    all.parts += one.parts;
    all.levels = std::max(all.levels, one.levels + 1);
    all.space |= one.space;
  }
  if (all.parts > kMostParts || all.levels > kMostLevels) fail("a value becomes too large");
  return all;
}

}  // namespace

Value::Value(List list) {
  const Extent extent = extent_of(list);
  data_ = std::make_shared<const Sized<List>>(Sized<List>{std::move(list), extent});
}
Value::Value(Dict dict) {
  const Extent extent = extent_of(dict);
  data_ = std::make_shared<const Sized<Dict>>(Sized<Dict>{std::move(dict), extent});
}

const List* Value::list() const {
  const auto* held = pointer<Sized<List>>();
  return held ? &held->items : nullptr;
}

Extent Value::extent() const {
  if (space()) return {.space = true};
  if (const auto* held = pointer<Sized<List>>()) return held->extent;
  if (const auto* held = pointer<Sized<Dict>>()) return held->extent;
  return {};
}

Namespace* Value::space() const {
  const auto* held = std::get_if<std::shared_ptr<Namespace>>(&data_);
  return held ? held->get() : nullptr;
}

const Dict* Value::dict() const {
  if (const auto* members = space()) return &members->members;
  const auto* held = pointer<Sized<Dict>>();
  return held ? &held->items : nullptr;
}

double Value::as_real() const {
  if (boolean()) return *boolean() ? 1 : 0;
  if (integer()) return static_cast<double>(*integer());
  if (!real()) fail("expected a number, not " + type());
  return *real();
}

bool Value::truth() const {
  if (number()) return as_real() != 0;
  if (string()) return !string()->empty();
  if (list()) return !list()->empty();
  if (space() || function()) return true;
  if (dict()) return !dict()->empty();
  return false;
}

std::string Value::text() const {
  if (is_undefined()) return "";
  return string() ? *string() : repr(*this);
}

std::string Value::type() const {
  if (const auto* undefined = std::get_if<Undefined>(&data_))
    return between("'", undefined->name, "', which is undefined,");
  if (is_none()) return "None";
  if (boolean()) return "a boolean";
  if (number()) return "a number";
  if (string()) return "a string";
  if (list()) return "a list";
  return dict() ? "a dictionary" : "a function";
}

const Value* Value::find(const std::string& key) const {
  if (!dict()) return nullptr;
  const auto found = std::ranges::find(*dict(), key, [](const auto& item) { return item.first; });
  return found == dict()->end() ? nullptr : &found->second;
}

bool equal(const Value& a, const Value& b) {
  if (a.number() && b.number()) {
    if (a.integer() && b.integer()) return *a.integer() == *b.integer();
    return a.as_real() == b.as_real();
  }
  if (a.string() && b.string()) return *a.string() == *b.string();
  if (a.list() && b.list()) return std::ranges::equal(*a.list(), *b.list(), equal);
  if (a.space() || b.space()) return a.space() == b.space();
  if (a.dict() && b.dict())
    return a.dict()->size() == b.dict()->size() && std::ranges::all_of(*a.dict(), [&](auto& item) {
             const Value* other = b.find(item.first);
             return other && equal(item.second, *other);
           });
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const Value& a, const Value& b) {
  if (a.number() && b.number()) return a.as_real() < b.as_real();
  if (a.string() && b.string()) return *a.string() < *b.string();
  if (a.list() && b.list()) return std::ranges::lexicographical_compare(*a.list(), *b.list(), less);
  fail(a.type() + " and " + b.type() + " have no order");
}

bool contains(const Value& container, const Value& item) {
  if (const auto* text = container.string()) {
    if (!item.string()) fail(item.type() + " cannot be in a string");
    return text->find(*item.string()) != std::string::npos;
  }
  if (const auto* list = container.list())
    return std::ranges::any_of(*list, [&](const Value& value) { return equal(value, item); });
  if (container.dict()) return item.string() && container.find(*item.string());
  if (container.is_undefined()) return false;
  fail("nothing can be in " + container.type());
}

List items_of(const Value& value) {
  if (const auto* list = value.list()) return *list;
  List items;
  if (const auto* dict = value.dict()) {
    for (const auto& [key, unused] : *dict) items.push_back(key);
  } else if (value.string()) {
    for (auto& character : characters(*value.string())) items.push_back(std::move(character));
  } else if (!value.is_undefined()) {
    fail(value.type() + " has no items");
  }
  return items;
}

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> all;
  for (const char c : text) {
    const bool continues = (static_cast<unsigned char>(c) & 0xC0) == 0x80;
    if (!continues || all.empty()) all.emplace_back();
    all.back() += c;
  }
  return all;
}

std::string repr(const Value& value) {
  if (value.string()) return quoted(*value.string());
  if (value.boolean()) return *value.boolean() ? "True" : "False";
  if (value.integer()) return std::to_string(*value.integer());
  if (value.real()) return real_text(*value.real());
  if (value.is_none()) return "None";
  if (value.is_undefined()) return "Undefined";
  std::string out;
  const auto add = [&](const std::string& item) { out += (out.empty() ? "" : ", ") + item; };
  if (value.list()) {
    for (const Value& item : *value.list()) add(repr(item));
    return between("[", out, "]");
  }
  if (value.dict() && !value.space()) {
    for (const auto& [key, item] : *value.dict()) add(quoted(key) + ": " + repr(item));
    return between("{", out, "}");
  }
  return value.space() ? "<namespace>" : "<function>";
}

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace hydrofoil::text::jinja
