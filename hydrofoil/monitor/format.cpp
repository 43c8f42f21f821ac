// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/format.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <span>

namespace hydrofoil::monitor {
namespace {

std::string print(const char* format, double value) {
  std::array<char, 64> text;
  return {text.data(), static_cast<size_t>(std::snprintf(text.data(), text.size(), format, value))};
}

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

}  // namespace

std::string exact(double value) {
  if (std::isnan(value)) return "nan";
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
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
