// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/config/overrides.h"

#include "hydrofoil/config/tree.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::config {
namespace {

// Every value inside is from the command line too: it has no line and column.
void relocate(Value& value, const Place& place) {
  value.place = place;
  if (value.is_array()) {
    for (Value& item : value.array()) relocate(item, place);
  } else if (value.is_object()) {
    for (Member& member : value.object()) {
      member.place = place;
      relocate(member.value, place);
    }
  }
}

Value parse_or_string(const std::string& text) {
  try {
    return parse_json(text, "command line");
  } catch (const Error&) {
    return make_string(text);
  }
}

}  // namespace

Place command_line_place() {
  return {std::make_shared<const std::string>("command line"), 0, 0};
}

std::vector<Override> parse_overrides(std::span<const std::string> texts) {
  std::vector<Override> overrides;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    const std::string path = text.substr(0, equals);
    const bool hole = path.empty() || path.front() == '.' || path.back() == '.' ||
                      path.find("..") != std::string::npos;
    if (equals == std::string::npos || hole) {
      throw Error(ExitCode::kUsage, "expected name=value, got " + quote_json(text), "--set",
                  "for instance --set steps=10");
    }
    Override one{path, parse_or_string(text.substr(equals + 1))};
    relocate(one.value, command_line_place());
    overrides.push_back(std::move(one));
  }
  return overrides;
}

void apply_overrides(Value& document, const std::vector<Override>& overrides,
                     const std::function<bool(const std::string& path)>& wanted) {
  if (!document.is_object()) return;  // the reader says so
  for (const Override& one : overrides) {
    if (wanted(one.path)) set_path(document, one.path, one.value);
  }
}

}  // namespace hydrofoil::config
