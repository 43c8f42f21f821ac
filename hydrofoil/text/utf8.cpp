// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/utf8.h"

#include <cstdint>
#include <cstring>

#include "hydrofoil/core/error.h"

namespace hydrofoil::text {
namespace {

enum class Form { kValid, kInvalid, kCut };
struct Sequence {
  size_t length;  // bytes; of the maximal ill-formed part when not valid
  Form form;
};

// The sequence at the front of a non-empty text (Unicode table 3-7).
Sequence front(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, Form::kValid};
  if (lead < 0xC2 || lead > 0xF4) return {1, Form::kInvalid};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint8_t low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i, low = 0x80, high = 0xBF) {
    if (i == text.size()) return {i, Form::kCut};
    if (byte(i) < low || byte(i) > high) return {i, Form::kInvalid};
  }
  return {length, Form::kValid};
}

// Bytes of ASCII at the front, eight at a time.
size_t ascii_prefix(std::string_view text) {
  size_t i = 0;
  for (uint64_t word; i + 8 <= text.size(); i += 8) {
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080) break;
  }
  while (i < text.size() && static_cast<uint8_t>(text[i]) < 0x80) ++i;
  return i;
}

}  // namespace

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    at += ascii_prefix(text.substr(at));
    if (at == text.size()) break;
    const auto sequence = front(text.substr(at));
    if (sequence.form != Form::kValid) return at;
    at += sequence.length;
  }
  return std::nullopt;
}

void check_utf8(std::string_view text, const std::string& where) {
  const auto at = find_invalid_utf8(text);
  if (!at) return;
  static constexpr char kHex[] = "0123456789ABCDEF";
  const auto byte = static_cast<uint8_t>(text[*at]);
  throw Error(ExitCode::kData,
              "invalid UTF-8 at byte " + std::to_string(*at) + " (0x" + kHex[byte >> 4] +
                  kHex[byte & 15] + ")",
              where, "convert the text to UTF-8");
}

size_t append_valid_utf8(std::string_view bytes, bool final, std::string& out) {
  size_t at = 0;
  while (at < bytes.size()) {
    const auto sequence = front(bytes.substr(at));
    if (sequence.form == Form::kCut && !final) break;
    if (sequence.form == Form::kValid)
      out.append(bytes.substr(at, sequence.length));
    else
      out.append("\xEF\xBF\xBD");
    at += sequence.length;
  }
  return at;
}

}  // namespace hydrofoil::text
