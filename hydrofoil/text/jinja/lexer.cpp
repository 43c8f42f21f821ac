// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/unicode.h"
#include "hydrofoil/text/utf8.h"

namespace hydrofoil::text::jinja {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\f\v";
constexpr std::array<std::string_view, 24> kOperators = {
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~",
    "(",  ")",  "[",  "]",  "{",  "}",  ",", ":", ".", "|", "=", "<"};

bool is_name(char c, bool first) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         (!first && c >= '0' && c <= '9');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) {
    for (size_t i = 0; i < source.size(); ++i)
      if (source[i] != '\r' || i + 1 == source.size() || source[i + 1] != '\n')
        source_ += source[i];
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = next_tag();
      add_text(tag);
      at_ = tag;
      if (at_ == source_.size()) break;
      if (rest().starts_with("{#"))
        skip_comment();
      else
        read_tag(source_[at_ + 1] == '{');
    }
    add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  [[noreturn]] void bad(const std::string& what) const {
    throw Error(ExitCode::kData, what, "chat template, line " + std::to_string(line_));
  }
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void move_to(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                         source_.begin() + static_cast<ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  size_t next_tag() const {
    for (size_t at = at_; (at = source_.find('{', at)) != std::string::npos; ++at)
      if (at + 1 < source_.size() &&
          (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#'))
        return at;
    return source_.size();
  }

  // Text up to a tag: "{%-" takes all white space before it, "{%" that of its own line.
  void add_text(size_t tag) {
    const bool line_starts = at_ == 0 || source_[at_ - 1] == '\n';
    std::string text = source_.substr(at_, tag - at_);
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
    if (tag < source_.size() && sign == '-') {
      text.erase(text.find_last_not_of(kSpaces) + 1);
    } else if (tag < source_.size() && source_[tag + 1] != '{' && sign != '+') {
      const size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
      if ((line > 0 || line_starts) && text.find_first_not_of(" \t", line) == std::string::npos)
        text.erase(line);
    }
    if (!text.empty()) add(TokenKind::kText, text);
    move_to(tag);
  }

  // Behind a tag's end: "-%}" takes all white space, "%}" one line end.
  void end_tag(char sign, bool output) {
    size_t to = at_;
    if (sign == '-')
      to = std::min(source_.find_first_not_of(kSpaces, at_), source_.size());
    else if (!output && sign != '+' && at_ < source_.size() && source_[at_] == '\n')
      ++to;
    move_to(to);
  }

  void skip_comment() {
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string::npos) bad("a comment without an end");
    const char sign = source_[end - 1];
    move_to(end + 2);
    end_tag(sign, false);
  }

  void read_tag(bool output) {
    add(output ? TokenKind::kOutputBegin : TokenKind::kBlockBegin, "");
    at_ += 2;
    if (!rest().empty() && (rest()[0] == '-' || rest()[0] == '+')) ++at_;
    const std::string_view end = output ? "}}" : "%}";
    for (int open = 0;;) {
      move_to(std::min(source_.find_first_not_of(kSpaces, at_), source_.size()));
      if (at_ == source_.size()) bad("a tag without an end");
      const char sign = rest()[0];
      const bool marked = sign == '-' || sign == '+';
      if (open == 0 && rest().substr(marked ? 1 : 0).starts_with(end)) {
        add(output ? TokenKind::kOutputEnd : TokenKind::kBlockEnd, "");
        at_ += end.size() + (marked ? 1 : 0);
        return end_tag(sign, output);
      }
      open += sign == '(' || sign == '[' || sign == '{';
      open -= sign == ')' || sign == ']' || sign == '}';
      read_word();
    }
  }

  void read_word() {
    const char c = rest()[0];
    if (is_name(c, true))
      return read_while(TokenKind::kName, [](char x) { return is_name(x, false); });
    if (is_digit(c)) return read_number();
    if (c == '"' || c == '\'') return read_string(c);
    if (c == '>' && !rest().starts_with(">=")) {
      ++at_;
      return add(TokenKind::kOperator, ">");
    }
    for (const auto op : kOperators)
      if (rest().starts_with(op)) {
        at_ += op.size();
        return add(TokenKind::kOperator, std::string(op));
      }
    bad(std::string("unexpected character '") + c + "'");
  }

  template <class Belongs>
  void read_while(TokenKind kind, const Belongs& belongs) {
    const size_t begin = at_;
    while (at_ < source_.size() && belongs(source_[at_])) ++at_;
    add(kind, source_.substr(begin, at_ - begin));
  }

  void read_number() {
    const auto digits_from = [this](size_t at) {
      while (at < source_.size() && is_digit(source_[at])) ++at;
      return at;
    };
    const size_t whole = digits_from(at_);
    size_t end = whole;
    if (rest().substr(end - at_).starts_with('.')) {
      const size_t fraction = digits_from(end + 1);
      if (fraction > end + 1) end = fraction;
    }
    if (const char c = end < source_.size() ? source_[end] : ' '; c == 'e' || c == 'E') {
      const bool sign =
          end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+');
      const size_t exponent = digits_from(end + 1 + sign);
      if (exponent > end + 1 + sign) end = exponent;
    }
    add(end > whole ? TokenKind::kReal : TokenKind::kInteger, source_.substr(at_, end - at_));
    at_ = end;
  }

  void read_string(char quote) {
    const int line = line_;
    std::string text;
    for (size_t i = at_ + 1;; ++i) {
      if (i >= source_.size()) bad("a string without an end");
      if (source_[i] == quote) {
        move_to(i + 1);
        tokens_.push_back({TokenKind::kString, std::move(text), line});
        return;
      }
      if (source_[i] == '\\' && i + 1 < source_.size())
        i = read_escape(i + 1, text);
      else
        text += source_[i];
    }
  }

  // Of the escape whose letter is at i; the position of its last character.
  size_t read_escape(size_t i, std::string& text) const {
    constexpr std::string_view kLetters = "ntrfvab0\\'\"", kMeanings("\n\t\r\f\v\a\b\0\\'\"", 11);
    const char letter = source_[i];
    if (const size_t known = kLetters.find(letter); known != std::string_view::npos) {
      text += kMeanings[known];
      return i;
    }
    const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    if (letter == '\n') return i;
    if (digits == 0) {
      text += '\\';
      text += letter;
      return i;
    }
    int32_t character = 0;
    for (size_t d = 1; d <= digits; ++d) {
      const size_t digit =
          i + d < source_.size()
              ? std::string_view("0123456789abcdef")
                    .find(static_cast<char>(source_[i + d] | (source_[i + d] >= 'A' ? 0x20 : 0)))
              : std::string_view::npos;
      if (digit == std::string_view::npos || character > 0x10FFF) bad("a bad escape in a string");
      character = character * 16 + static_cast<int32_t>(digit);
    }
    if (character >= 0xD800 && character < 0xE000) bad("a surrogate in a string");
    append_character(character, text);
    return i + digits;
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokens_of(std::string_view source) {
  check_utf8(source, "chat template");
  return Lexer(source).run();
}

}  // namespace hydrofoil::text::jinja
