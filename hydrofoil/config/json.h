// SPDX-License-Identifier: Apache-2.0
// JSON in which every value knows where it stands, so that a wrong key can be pointed at.
//
//   Value config = parse_json("{\"stage\": 3} // comment", "ds.json");
//   config.find("stage")->place.text();  // "ds.json:1:11"
//
// Beyond RFC 8259 it accepts what people write in DeepSpeed files: comments (//, #, /* */),
// trailing commas and a byte order mark. A duplicate key is an error, not a silent override. No
// input crashes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace hydrofoil::config {

// Where a value was written.
struct Place {
  std::shared_ptr<const std::string> source;  // a file, "command line", "default"
  int line = 0, column = 0;                   // from 1, in characters; 0: not in a text
  std::string text() const;                   // "ds.json:3:5", or the source alone
  bool in_text() const { return line > 0; }
};

struct Member;

struct Value {
  using Array = std::vector<Value>;
  using Object = std::vector<Member>;  // in the order written

  std::variant<std::nullptr_t, bool, int64_t, double, std::string, Array, Object> data;
  Place place;

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(data); }
  bool is_object() const { return std::holds_alternative<Object>(data); }
  bool is_array() const { return std::holds_alternative<Array>(data); }
  bool is_string() const { return std::holds_alternative<std::string>(data); }
  const std::string& string() const { return std::get<std::string>(data); }
  const Array& array() const { return std::get<Array>(data); }
  const Object& object() const { return std::get<Object>(data); }
  Array& array() { return std::get<Array>(data); }
  Object& object() { return std::get<Object>(data); }

  // A member of an object; null for other types and when absent.
  const Value* find(std::string_view key) const;
  Value* find(std::string_view key);
  // Sets or replaces a member; *this must be an object.
  void set(std::string_view key, Value value);
  // Removes a member and returns it; *this must have it.
  Value take(std::string_view key);
};

struct Member {
  std::string key;
  Place place;  // of the key
  Value value;
};

Value make_object();
Value make_string(std::string text, Place place = {});

struct JsonLimits {
  size_t bytes = size_t{1} << 20;
  int depth = 64;
};

// Integers that fit stay int64, other numbers are double. Error(kConfig) with file:line:column.
Value parse_json(std::string_view text, std::string_view source, JsonLimits limits = {});
Value read_json_file(const std::string& path, JsonLimits limits = {});

// The text again: doubles round-trip, objects keep their order. indent 0: one line.
std::string dump_json(const Value& value, int indent = 2);
// A string as a JSON literal, quoted and escaped.
std::string quote_json(std::string_view text);

// "the string \"abc\"", "the number 1.5", "a list", ..: for messages.
std::string describe(const Value& value);

}  // namespace hydrofoil::config
