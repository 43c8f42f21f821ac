// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/slots.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

namespace hydrofoil::config {
namespace {

template <class... F>
struct Overload : F... {
  using F::operator()...;
};

bool equal_fold(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

std::optional<double> number_of(const Value& value) {
  if (const auto* i = std::get_if<int64_t>(&value.data)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&value.data)) return *d;
  return std::nullopt;
}

// 5e8 is an integer in the files people have.
std::optional<int64_t> integer_of(const Value& value) {
  if (const auto* i = std::get_if<int64_t>(&value.data)) return *i;
  const auto* d = std::get_if<double>(&value.data);
  constexpr double kBound = 9223372036854775808.0;  // 2^63
  if (d == nullptr || std::floor(*d) != *d || *d < -kBound || *d >= kBound) return std::nullopt;
  return static_cast<int64_t>(*d);
}

std::string trimmed(double d) {
  Value value;
  value.data = d;
  if (std::floor(d) == d && std::fabs(d) < 1e15) value.data = static_cast<int64_t>(d);
  return dump_json(value, 0);
}

bool in_range(double d, const Key& key) {
  if (key.min && (key.above_min ? d <= *key.min : d < *key.min)) return false;
  return !key.max || d <= *key.max;
}

std::string range_text(const Key& key) {
  if (key.min && key.max && *key.min == *key.max) return ", exactly " + trimmed(*key.min);
  if (key.min && key.max) {
    const char* from = key.above_min ? " above " : " of ";
    const char* to = key.above_min ? " up to " : " to ";
    return from + trimmed(*key.min) + to + trimmed(*key.max);
  }
  if (key.min) return (key.above_min ? " above " : " of at least ") + trimmed(*key.min);
  if (key.max) return " of at most " + trimmed(*key.max);
  return {};
}

bool put(bool& out, const Value& value, const Key&) {
  const auto* b = std::get_if<bool>(&value.data);
  if (b != nullptr) out = *b;
  return b != nullptr;
}

bool put(int64_t& out, const Value& value, const Key& key) {
  const auto i = integer_of(value);
  if (!i || !in_range(static_cast<double>(*i), key)) return false;
  out = *i;
  return true;
}

bool put(double& out, const Value& value, const Key& key) {
  const auto d = number_of(value);
  if (!d || !in_range(*d, key)) return false;
  out = *d;
  return true;
}

// A relative path of a file means: beside that file. One from the command line: where we stand.
std::string resolved_path(const Value& value) {
  const std::string& text = value.string();
  if (text.empty() || !value.place.in_text()) return text;
  const std::filesystem::path base = std::filesystem::path(*value.place.source).parent_path();
  return (base / text).lexically_normal().string();
}

bool put(std::string& out, const Value& value, const Key& key) {
  if (!value.is_string()) return false;
  out = key.path ? resolved_path(value) : value.string();
  return true;
}

bool put(std::vector<std::string>& out, const Value& value, const Key& key) {
  std::vector<std::string> items;
  if (value.is_string()) {
    items.resize(1);
    put(items[0], value, key);
  } else if (value.is_array()) {
    for (const Value& item : value.array()) {
      items.emplace_back();
      if (!put(items.back(), item, key)) return false;
    }
  } else {
    return false;
  }
  out = std::move(items);
  return true;
}

bool put(std::vector<int64_t>& out, const Value& value, const Key& key) {
  if (!value.is_array() || value.array().empty()) return false;
  std::vector<int64_t> items(value.array().size());
  for (size_t i = 0; i < items.size(); ++i)
    if (!put(items[i], value.array()[i], key)) return false;
  out = std::move(items);
  return true;
}

bool put(std::array<double, 2>& out, const Value& value, const Key& key) {
  std::array<double, 2> pair{};
  if (!value.is_array() || value.array().size() != 2) return false;
  for (size_t i = 0; i < 2; ++i) {
    if (!put(pair[i], value.array()[i], key)) return false;
  }
  out = pair;
  return true;
}

bool put(Value& out, const Value& value, const Key&) {
  out = value;
  return true;
}

template <class T>
bool put(std::optional<T>& out, const Value& value, const Key& key) {
  T held{};
  if (!put(held, value, key)) return false;
  out = held;
  return true;
}

bool put(const EnumSlot& out, const Value& value, const Key& key) {
  const Choice* choice = value.is_string() ? find_choice(key, value.string()) : nullptr;
  if (choice == nullptr) return false;
  if (choice->status != Status::kRefused) {
    out.set(static_cast<size_t>(choice - key.choices.data()));
  }
  return true;
}

bool fits(const Unstored& slot, const Value& value, const Key& key) {
  if (!key.choices.empty()) return value.is_string() && find_choice(key, value.string()) != nullptr;
  switch (slot.type) {
    case Type::kBool:
      return std::holds_alternative<bool>(value.data);
    case Type::kInteger:
      return integer_of(value) && in_range(*number_of(value), key);
    case Type::kNumber:
      return number_of(value) && in_range(*number_of(value), key);
    case Type::kString:
    case Type::kChoice:
      return value.is_string();
    case Type::kList:
      return value.is_array();
    case Type::kObject:
    case Type::kSection:
      return value.is_object();
    case Type::kAny:
      return true;
  }
  return false;
}

Value scalar(std::variant<bool, int64_t, double, std::string> data) {
  Value value;
  std::visit([&](auto& d) { value.data = std::move(d); }, data);
  return value;
}

Value list(const auto& items) {
  Value value;
  Value::Array array;
  for (const auto& item : items) array.push_back(scalar(item));
  value.data = std::move(array);
  return value;
}

std::string choices_text(const Key& key) {
  std::string text;
  for (size_t i = 0; i < key.choices.size(); ++i) {
    const bool last = i + 1 == key.choices.size();
    if (i > 0) text += last ? " or " : ", ";
    text += quote_json(key.choices[i].name);
  }
  return text;
}

}  // namespace

const Choice* find_choice(const Key& key, std::string_view name) {
  for (const Choice& choice : key.choices) {
    if (equal_fold(choice.name, name)) return &choice;
    for (const std::string& spelling : choice.spellings) {
      if (equal_fold(spelling, name)) return &choice;
    }
  }
  return nullptr;
}

bool same_value(const Value& a, const Value& b) {
  const auto x = number_of(a), y = number_of(b);
  if (x && y) return *x == *y;
  return dump_json(a, 0) == dump_json(b, 0);
}

Type type_of(const Slot& slot, const Key& key) {
  if (!key.choices.empty()) return Type::kChoice;
  return std::visit(
      Overload{[](const Unstored& u) { return u.type; },
               [](const EnumSlot&) { return Type::kChoice; }, [](bool*) { return Type::kBool; },
               [](std::optional<bool>*) { return Type::kBool; },
               [](int64_t*) { return Type::kInteger; },
               [](std::optional<int64_t>*) { return Type::kInteger; },
               [](double*) { return Type::kNumber; },
               [](std::optional<double>*) { return Type::kNumber; },
               [](std::string*) { return Type::kString; }, [](Value*) { return Type::kAny; },
               [](std::array<double, 2>*) { return Type::kList; },
               [](std::vector<std::string>*) { return Type::kList; },
               [](std::vector<int64_t>*) { return Type::kList; }},
      slot);
}

Value value_of(const Slot& slot, const Key& key) {
  return std::visit(
      Overload{[](const Unstored& u) { return u.standard; },
               [&](const EnumSlot& e) { return make_string(key.choices.at(e.get()).name); },
               [](Value* v) { return *v; }, [](std::array<double, 2>* a) { return list(*a); },
               [](std::vector<std::string>* v) { return list(*v); },
               [](std::vector<int64_t>* v) { return list(*v); },
               []<class T>(std::optional<T>* o) { return *o ? scalar(**o) : Value{}; },
               [](auto* plain) { return scalar(*plain); }},
      slot);
}

std::optional<std::string> assign(const Slot& slot, const Key& key, const Value& value) {
  const bool done = std::visit(Overload{[&](const Unstored& u) { return fits(u, value, key); },
                                        [&](const EnumSlot& e) { return put(e, value, key); },
                                        [&](auto* member) { return put(*member, value, key); }},
                               slot);
  if (done) return std::nullopt;
  return expected_text(type_of(slot, key), key);
}

std::string expected_text(Type type, const Key& key) {
  const std::string unit = key.unit.empty() ? "" : " (" + key.unit + ")";
  switch (type) {
    case Type::kAny:
      return "any value";
    case Type::kBool:
      return "true or false";
    case Type::kInteger:
      return "an integer" + range_text(key) + unit;
    case Type::kNumber:
      return "a number" + range_text(key) + unit;
    case Type::kString:
      return key.path ? "a path" : "a string";
    case Type::kChoice:
      return (key.choices.size() > 1 ? "one of " : "") + choices_text(key);
    case Type::kList:
      return "a list" + (key.help.empty() ? "" : ": " + key.help);
    case Type::kObject:
    case Type::kSection:
      return "a section {..}";
  }
  return {};
}

}  // namespace hydrofoil::config
