// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cmath>
#include <fstream>
#include <unordered_map>

#include "hydrofoil/config/json.h"
#include "hydrofoil/config/utf8.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::config {
namespace {

using Source = std::shared_ptr<const std::string>;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// Recursive descent; the depth limit bounds the stack.
class Parser {
 public:
  Parser(std::string_view text, Source source, JsonLimits limits)
      : text_(text), source_(std::move(source)), limits_(limits) {}

  Value document() {
    if (text_.size() > limits_.bytes) {
      throw Error(ExitCode::kConfig,
                  "the text has " + std::to_string(text_.size()) + " bytes, the limit is " +
                      std::to_string(limits_.bytes),
                  *source_, "is this the right file?");
    }
    if (text_.starts_with("\xef\xbb\xbf")) text_.remove_prefix(3);  // byte order mark
    if (const auto bad = first_invalid_utf8(text_)) {
      fail_at(place_of(*bad), "the text is not valid UTF-8 here");
    }
    skip();
    if (done()) fail("expected a value, found the end of the text");
    Value value = parse_value();
    skip();
    if (!done()) fail("expected the end of the text, found " + found());
    return value;
  }

 private:
  bool done() const { return at_ >= text_.size(); }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  // Called with rising positions only, so the columns of one line are counted once in all.
  Place here() {
    for (; counted_ < at_; ++counted_) {
      if (!is_continuation(text_[counted_])) ++column_;
    }
    return {source_, line_, column_};
  }

  // Of any position; for errors.
  Place place_of(size_t position) const {
    Place place{source_, 1, 1};
    for (size_t i = 0; i < position; ++i) {
      if (text_[i] == '\n') {
        ++place.line;
        place.column = 1;
      } else if (!is_continuation(text_[i])) {
        ++place.column;
      }
    }
    return place;
  }

  [[noreturn]] void fail(const std::string& message, const std::string& hint = {}) const {
    fail_at(place_of(at_), message, hint);
  }
  [[noreturn]] static void fail_at(const Place& place, const std::string& message,
                                   const std::string& hint = {}) {
    throw Error(ExitCode::kConfig, message, place.text(), hint);
  }

  // What stands here, for "expected .., found ..".
  std::string found() const {
    if (done()) return "the end of the text";
    size_t length = 1;
    while (at_ + length < text_.size() && is_continuation(text_[at_ + length])) ++length;
    if (static_cast<unsigned char>(peek()) < 0x20) return "a control character";
    std::string text = "'";
    return text.append(text_.substr(at_, length)).append("'");
  }

  void new_line() {
    ++line_;
    counted_ = at_;
    column_ = 1;
  }

  // White space and comments.
  void skip() {
    while (!done()) {
      const char c = peek();
      if (c == '\n') {
        ++at_;
        new_line();
      } else if (c == ' ' || c == '\t' || c == '\r') {
        ++at_;
      } else if (c == '#' || (c == '/' && peek(1) == '/')) {
        while (!done() && peek() != '\n') ++at_;
      } else if (c == '/' && peek(1) == '*') {
        skip_block_comment();
      } else {
        return;
      }
    }
  }

  void skip_block_comment() {
    const size_t start = at_;
    at_ += 2;
    while (!(peek() == '*' && peek(1) == '/')) {
      if (done()) fail_at(place_of(start), "this comment is not closed", "add */");
      const bool line_end = peek() == '\n';
      ++at_;
      if (line_end) new_line();
    }
    at_ += 2;
  }

  Value parse_value() {
    Value value;
    value.place = here();
    const char c = peek();
    if (c == '{') {
      value.data = parse_object();
    } else if (c == '[') {
      value.data = parse_array();
    } else if (c == '"') {
      value.data = parse_string();
    } else if (c == '-' || is_digit(c)) {
      parse_number(value);
    } else {
      parse_word(value);
    }
    return value;
  }

  void enter() {
    if (++depth_ > limits_.depth) {
      fail("nested deeper than " + std::to_string(limits_.depth) + " levels");
    }
    ++at_;
    skip();
  }

  // After an element: true when another one follows. `close` is consumed.
  bool next(char close, const char* expected) {
    skip();
    if (peek() == ',') {
      ++at_;
      skip();
      if (peek() != close) return true;  // else: a trailing comma
    }
    if (peek() != close) fail(std::string("expected ") + expected + ", found " + found());
    ++at_;
    --depth_;
    return false;
  }

  Value::Object parse_object() {
    Value::Object members;
    std::unordered_map<std::string, Place> seen;
    enter();
    if (peek() == '}') {
      ++at_;
      --depth_;
      return members;
    }
    do {
      const Place place = here();
      if (peek() != '"') {
        fail("expected a key in double quotes or '}', found " + found(),
             is_letter(peek()) || peek() == '\'' ? "keys and strings need double quotes" : "");
      }
      std::string key = parse_string();
      const auto [first, fresh] = seen.emplace(key, place);
      if (!fresh) {
        fail_at(place, "the key " + quote_json(key) + " appears twice",
                "first at " + first->second.text() + "; keep one of the two");
      }
      skip();
      if (peek() != ':') fail("expected ':' after " + quote_json(key) + ", found " + found());
      ++at_;
      skip();
      Value value = parse_value();
      members.push_back({std::move(key), place, std::move(value)});
    } while (next('}', "',' or '}' after the value"));
    return members;
  }

  Value::Array parse_array() {
    Value::Array items;
    enter();
    if (peek() == ']') {
      ++at_;
      --depth_;
      return items;
    }
    do {
      items.push_back(parse_value());
    } while (next(']', "',' or ']' after the element"));
    return items;
  }

  std::string parse_string() {
    const size_t start = at_;
    std::string out;
    ++at_;
    while (true) {
      if (done() || peek() == '\n') fail_at(place_of(start), "this string is not closed", "add \"");
      const char c = peek();
      if (static_cast<unsigned char>(c) < 0x20) {
        fail("a control character in a string", "write it as an escape: \\t, \\u001f");
      }
      ++at_;
      if (c == '"') return out;
      if (c == '\\') {
        parse_escape(out);
      } else {
        out += c;
      }
    }
  }

  void parse_escape(std::string& out) {
    static constexpr std::string_view kNames = "\"\\/bfnrt";
    static constexpr std::string_view kBytes = "\"\\/\b\f\n\r\t";
    const char c = peek();
    if (c == 'u') {
      ++at_;
      append_utf8(out, parse_code_point());
    } else if (const size_t i = kNames.find(c); !done() && i != std::string_view::npos) {
      ++at_;
      out += kBytes[i];
    } else {
      fail("unknown escape in a string", "a backslash itself is written \\\\");
    }
  }

  uint32_t parse_code_point() {
    const uint32_t unit = parse_hex4();
    if (unit < 0xd800 || unit > 0xdfff) return unit;
    if (unit > 0xdbff || peek() != '\\' || peek(1) != 'u') fail("half of a surrogate pair");
    at_ += 2;
    const uint32_t low = parse_hex4();
    if (low < 0xdc00 || low > 0xdfff) fail("half of a surrogate pair");
    return 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
  }

  uint32_t parse_hex4() {
    uint32_t unit = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), unit, 16);
    if (digits.size() < 4 || error != std::errc() || end != digits.data() + 4) {
      fail("expected four hexadecimal digits after \\u");
    }
    at_ += 4;
    return unit;
  }

  size_t digits(size_t position) const {
    while (position < text_.size() && is_digit(text_[position])) ++position;
    return position;
  }

  // The end of the number that starts here, by JSON's grammar.
  size_t number_end(bool& integer) const {
    size_t end = at_ + (peek() == '-' ? 1 : 0);
    const size_t whole = end;
    end = digits(end);
    if (end == whole) fail("expected digits after '-'");
    if (text_[whole] == '0' && end > whole + 1) fail("a number must not begin with 0");
    if (end < text_.size() && text_[end] == '.') {
      integer = false;
      const size_t fraction = end + 1;
      end = digits(fraction);
      if (end == fraction) fail("expected digits after the decimal point");
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      integer = false;
      size_t exponent = end + 1;
      if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) ++exponent;
      end = digits(exponent);
      if (end == exponent) fail("expected digits in the exponent");
    }
    return end;
  }

  void parse_number(Value& value) {
    bool integer = true;
    const size_t stop = number_end(integer);
    const char* first = text_.data() + at_;
    const char* last = text_.data() + stop;
    int64_t whole = 0;
    double real = 0;
    if (integer && std::from_chars(first, last, whole).ec == std::errc()) {
      value.data = whole;
    } else if (std::from_chars(first, last, real).ec == std::errc() && std::isfinite(real)) {
      value.data = real;
    } else {
      fail("this number is out of range");
    }
    at_ = stop;
  }

  void parse_word(Value& value) {
    size_t end = at_;
    while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
    const std::string_view word = text_.substr(at_, end - at_);
    if (word == "true" || word == "false") {
      value.data = word == "true";
    } else if (word == "null") {
      value.data = nullptr;
    } else {
      fail_word(word);
    }
    at_ = end;
  }

  [[noreturn]] void fail_word(std::string_view word) const {
    if (word.empty()) fail("expected a value, found " + found());
    const std::string text(word.substr(0, 40));
    std::string hint = "strings need double quotes: \"" + text + "\"";
    if (word == "True" || word == "False") hint = "JSON writes true and false";
    if (word == "None") hint = "JSON writes null";
    if (word == "NaN" || word == "Infinity") hint = "JSON has no NaN or infinity";
    fail("expected a value, found '" + text + "'", hint);
  }

  std::string_view text_;
  Source source_;
  JsonLimits limits_;
  size_t at_ = 0;
  int depth_ = 0;
  int line_ = 1, column_ = 1;
  size_t counted_ = 0;  // columns are counted up to here
};

}  // namespace

Value parse_json(std::string_view text, std::string_view source, JsonLimits limits) {
  return Parser(text, std::make_shared<const std::string>(source), limits).document();
}

Value read_json_file(const std::string& path, JsonLimits limits) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ExitCode::kConfig, errno_message("cannot open the file"), path);
  std::string text(limits.bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && !file.eof())) {
    throw Error(ExitCode::kConfig, errno_message("cannot read the file"), path,
                "expected a JSON file");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return parse_json(text, path, limits);
}

}  // namespace hydrofoil::config
