// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "hydrofoil/text/jinja/builtins.h"

namespace hydrofoil::text::jinja {
namespace {

Value repeated(const Value& value, int64_t times) {
  const std::string& text = *value.string();
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (!text.empty() && count > kMostBytes / text.size()) fail("a string becomes too long");
  std::string out;
  for (size_t i = 0; i < count && !text.empty(); ++i) out += text;
  return out;
}

Value whole(const std::string& name, int64_t a, int64_t b) {
  int64_t result = 0;
  if (name == "+"   ? __builtin_add_overflow(a, b, &result)
      : name == "-" ? __builtin_sub_overflow(a, b, &result)
                    : __builtin_mul_overflow(a, b, &result))
    fail("a number becomes too large");
  return result;
}

// Towards minus infinity, as Python divides.
Value divided(const std::string& name, const Value& a, const Value& b) {
  if (b.as_real() == 0) fail("division by zero");
  if (name == "/") return a.as_real() / b.as_real();
  if (a.real() || b.real()) {
    const double quotient = std::floor(a.as_real() / b.as_real());
    return name == "//" ? quotient : a.as_real() - quotient * b.as_real();
  }
  const int64_t x = integer_of(a), y = integer_of(b);
  if (y == -1) return name == "//" ? whole("-", 0, x) : Value(int64_t{0});
  const int64_t quotient = x / y - (x % y != 0 && (x < 0) != (y < 0) ? 1 : 0);
  return name == "//" ? quotient : x - quotient * y;
}

Value power(const Value& a, const Value& b) {
  const double result = std::pow(a.as_real(), b.as_real());
  const bool integer = !a.real() && !b.real() && b.as_real() >= 0 && std::abs(result) < 9e15;
  return integer ? Value(static_cast<int64_t>(result)) : Value(result);
}

Value arithmetic(const std::string& name, const Value& a, const Value& b) {
  if (name == "+" && a.string() && b.string()) return *a.string() + *b.string();
  if (name == "+" && a.list() && b.list()) {
    List all = *a.list();
    all.insert(all.end(), b.list()->begin(), b.list()->end());
    return all;
  }
  if (name == "*" && a.string() && b.integer()) return repeated(a, *b.integer());
  if (name == "*" && b.string() && a.integer()) return repeated(b, *a.integer());
  if (!a.number() || !b.number())
    fail("'" + name + "' is not possible with " + a.type() + " and " + b.type());
  if (name == "**") return power(a, b);
  if (name == "/" || name == "//" || name == "%") return divided(name, a, b);
  if (!a.real() && !b.real()) return whole(name, integer_of(a), integer_of(b));
  const double x = a.as_real(), y = b.as_real();
  return name == "+" ? x + y : name == "-" ? x - y : x * y;
}

}  // namespace

Value unary(const std::string& name, const Value& value) {
  if (name == "not") return !value.truth();
  if (!value.number()) fail("'-' is not possible with " + value.type());
  return value.real() ? Value(-*value.real()) : whole("-", 0, integer_of(value));
}

Value binary(const std::string& name, const Value& a, const Value& b) {
  if (name == "~") return a.text() + b.text();
  if (name == "==") return equal(a, b);
  if (name == "!=") return !equal(a, b);
  if (name == "<") return less(a, b);
  if (name == ">") return less(b, a);
  if (name == "<=") return !less(b, a);
  if (name == ">=") return !less(a, b);
  if (name == "in") return contains(b, a);
  return arithmetic(name, a, b);
}

Value sliced(const Value& value, std::optional<int64_t> begin, std::optional<int64_t> end,
             int64_t step) {
  if (step == 0) fail("a slice with a step of zero");
  if (!value.list() && !value.string()) fail(value.type() + " cannot be sliced");
  const List items = items_of(value);
  const auto size = static_cast<int64_t>(items.size());
  step = std::clamp(step, -size - 1, size + 1);
  const int64_t least = step > 0 ? 0 : -1, most = step > 0 ? size : size - 1;
  const auto bound = [&](const std::optional<int64_t>& given, int64_t absent) {
    if (!given) return absent;
    return std::clamp(*given < 0 ? *given + size : *given, least, most);
  };
  const int64_t first = bound(begin, step > 0 ? 0 : size - 1),
                last = bound(end, step > 0 ? size : -1);
  List result;
  for (int64_t i = first; step > 0 ? i < last : i > last; i += step)
    result.push_back(items[static_cast<size_t>(i)]);
  if (value.string()) return joined(result, "");
  return result;
}

}  // namespace hydrofoil::text::jinja
