// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <span>
#include <string_view>

namespace hydrofoil::monitor {
namespace {

// Three digits that matter, in the largest unit that leaves at least 1.
std::string scaled(double value, double base, std::span<const char* const> units) {
  size_t unit = 0;
  // 999.5 of a unit would be shown as 1000.
  while (unit + 1 < units.size() && value >= base - 0.5) {
    value /= base;
    ++unit;
  }
  const char* format = unit == 0       ? "%.0f"
                       : value < 9.995 ? "%.2f"
                       : value < 99.95 ? "%.1f"
                                       : "%.0f";
  return print(format, value) + units[unit];
}

std::string two_units(int64_t large, const char* large_unit, int64_t small,
                      const char* small_unit) {
  std::array<char, 64> text;
  const int size =
      std::snprintf(text.data(), text.size(), "%lld %s %02lld %s", static_cast<long long>(large),
                    large_unit, static_cast<long long>(small), small_unit);
  return {text.data(), static_cast<size_t>(size)};
}

// Length of the valid UTF-8 sequence at the front of text; 0 where there is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const size_t length = lead < 0x80   ? 1
                        : lead < 0xc2 ? 0
                        : lead < 0xe0 ? 2
                        : lead < 0xf0 ? 3
                        : lead < 0xf5 ? 4
                                      : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const bool overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
  const bool surrogate = lead == 0xed && byte(1) >= 0xa0;
  const bool too_large = lead == 0xf4 && byte(1) >= 0x90;
  return overlong || surrogate || too_large ? 0 : length;
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    result += length == 0 ? "\xef\xbf\xbd" : text.substr(0, length);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return result;
}

std::string quoted(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : valid_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (c == '\n') {
      result += "\\n";
    } else if (byte < 0x20) {
      result += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string exact(double value) {
  if (std::isnan(value)) return "nan";
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

std::string print(const char* format, double value) {
  std::array<char, 320> text;  // "%f" of the largest double fits
  return {text.data(), static_cast<size_t>(std::snprintf(text.data(), text.size(), format, value))};
}

std::string human_bytes(uint64_t bytes) {
  constexpr std::array kUnits = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
  return scaled(static_cast<double>(bytes), 1024, kUnits);
}

std::string human_count(double count) {
  constexpr std::array kUnits = {"", "k", "M", "G", "T", "P"};
  return scaled(count, 1000, kUnits);
}

std::string human_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e12) return "?";
  if (seconds < 9.995) return print("%.2f s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return std::to_string(whole) + " s";
  if (whole < 3600) return two_units(whole / 60, "min", whole % 60, "s");
  if (whole < 48 * 3600) return two_units(whole / 3600, "h", whole / 60 % 60, "min");
  return two_units(whole / 86400, "d", whole / 3600 % 24, "h");
}

}  // namespace hydrofoil::monitor
