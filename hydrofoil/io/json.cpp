// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "hydrofoil/core/error.h"

namespace hydrofoil::io {

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> keys;  // of the objects that are open, outermost first
  const auto check = [&](int depth, Event event, nlohmann::json& parsed) {
    if (depth > kMaxJsonDepth)
      throw Error(ExitCode::kCheckpoint,
                  "JSON is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels", where);
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get_ref<const std::string&>()).second)
      throw Error(ExitCode::kCheckpoint, "JSON has the key " + parsed.dump() + " twice", where);
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), check);
  } catch (const nlohmann::json::exception& problem) {
    throw Error(ExitCode::kCheckpoint, std::string("not JSON: ") + problem.what(), where);
  }
}

}  // namespace hydrofoil::io
