// SPDX-License-Identifier: Apache-2.0
// The value type and the way back to text; the parser is json_parse.cpp.
#include "hydrofoil/config/json.h"

#include <charconv>
#include <cmath>

namespace hydrofoil::config {

std::string Place::text() const {
  std::string where = source ? *source : std::string();
  if (in_text()) where.append(":").append(std::to_string(line));
  if (in_text()) where.append(":").append(std::to_string(column));
  return where;
}

const Value* Value::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  for (const Member& member : object()) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

Value* Value::find(std::string_view key) {
  return const_cast<Value*>(static_cast<const Value*>(this)->find(key));
}

void Value::set(std::string_view key, Value value) {
  if (Value* old = find(key)) {
    *old = std::move(value);
    return;
  }
  Place place_of_key = value.place;
  object().push_back({std::string(key), std::move(place_of_key), std::move(value)});
}

Value Value::take(std::string_view key) {
  Object& members = object();
  for (auto it = members.begin(); it != members.end(); ++it) {
    if (it->key != key) continue;
    Value value = std::move(it->value);
    members.erase(it);
    return value;
  }
  return {};
}

Value make_object() {
  Value value;
  value.data = Value::Object{};
  return value;
}

Value make_string(std::string text, Place place) {
  Value value;
  value.data = std::move(text);
  value.place = std::move(place);
  return value;
}

std::string quote_json(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

namespace {

// The shortest digits that read back as the same number; 0.0003 rather than 3e-04.
std::string number_text(double number) {
  char buffer[64];
  const double size = std::fabs(number);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e15);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number, format).ptr;
  std::string text(buffer, end);
  // A whole double stays a double when read back.
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

class Writer {
 public:
  explicit Writer(int indent) : indent_(indent) {}

  void write(const Value& value) {
    std::visit([this](const auto& data) { put(data); }, value.data);
  }

  std::string take() { return std::move(out_); }

 private:
  void put(std::nullptr_t) { out_ += "null"; }
  void put(bool b) { out_ += b ? "true" : "false"; }
  void put(int64_t i) { out_ += std::to_string(i); }
  void put(double d) { out_ += number_text(d); }
  void put(const std::string& s) { out_ += quote_json(s); }
  void put(const Value::Array& items) {
    // Lists of scalars stay on one line: they are short and read better so.
    bool flat = true;
    for (const Value& item : items) flat = flat && !item.is_object() && !item.is_array();
    list('[', ']', items.size(), flat, [&](size_t i) { write(items[i]); });
  }
  void put(const Value::Object& members) {
    list('{', '}', members.size(), false, [&](size_t i) {
      out_ += quote_json(members[i].key);
      out_ += indent_ > 0 ? ": " : ":";
      write(members[i].value);
    });
  }

  template <class Item>
  void list(char open, char close, size_t size, bool flat, const Item& item) {
    out_ += open;
    ++depth_;
    for (size_t i = 0; i < size; ++i) {
      if (i > 0) out_ += flat && indent_ > 0 ? ", " : ",";
      if (!flat) new_line();
      item(i);
    }
    --depth_;
    if (size > 0 && !flat) new_line();
    out_ += close;
  }

  void new_line() {
    if (indent_ == 0) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(indent_ * depth_), ' ');
  }

  int indent_;
  int depth_ = 0;
  std::string out_;
};

}  // namespace

std::string dump_json(const Value& value, int indent) {
  Writer writer(indent);
  writer.write(value);
  return writer.take();
}

std::string describe(const Value& value) {
  struct Describe {
    std::string operator()(std::nullptr_t) const { return "null"; }
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(int64_t i) const { return "the number " + std::to_string(i); }
    std::string operator()(double d) const { return "the number " + number_text(d); }
    std::string operator()(const std::string& s) const {
      constexpr size_t kLongest = 60;
      return "the string " + quote_json(s.size() > kLongest ? s.substr(0, kLongest) + ".." : s);
    }
    std::string operator()(const Value::Array& items) const {
      return "a list of " + std::to_string(items.size());
    }
    std::string operator()(const Value::Object&) const { return "a section {..}"; }
  };
  return std::visit(Describe{}, value.data);
}

}  // namespace hydrofoil::config
