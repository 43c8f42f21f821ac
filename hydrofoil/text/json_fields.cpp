// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/json_fields.h"

#include "hydrofoil/core/error.h"

namespace hydrofoil::text::json {
namespace {

// Ids above this would only make the table of tokens large.
constexpr int64_t kLargestId = (int64_t{1} << 24) - 1;

}  // namespace

void fail(const std::string& message, const std::string& hint) {
  throw Error(ExitCode::kData, message, {}, hint);
}

void refuse(const std::string& what, const std::string& supported) {
  fail(what + " is not supported", "supported: " + supported);
}

const Json& child(const Json& object, const std::string& key) {
  static const Json null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

const Json& object_at(const Json& object, const char* key) {
  const Json& value = child(object, key);
  if (!value.is_object()) fail(std::string("\"") + key + "\" must be an object");
  return value;
}

const Json& array_at(const Json& object, const char* key) {
  const Json& value = child(object, key);
  if (!value.is_array()) fail(std::string("\"") + key + "\" must be a list");
  return value;
}

std::string string_at(const Json& object, const char* key) {
  const Json& value = child(object, key);
  if (!value.is_string()) fail(std::string("\"") + key + "\" must be a string");
  return value.get<std::string>();
}

bool bool_at(const Json& object, const char* key, bool absent) {
  const Json& value = child(object, key);
  if (value.is_null()) return absent;
  if (!value.is_boolean()) fail(std::string("\"") + key + "\" must be true or false");
  return value.get<bool>();
}

int32_t id_from(const Json& value, const std::string& what) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(kLargestId))
    fail("the id of " + what + " must be a whole number from 0 to " + std::to_string(kLargestId));
  return static_cast<int32_t>(value.get<uint64_t>());
}

std::string type_of(const Json& component, const char* role) {
  if (!component.is_object()) fail(std::string("a ") + role + " must be an object");
  return string_at(component, "type");
}

std::vector<Json> steps_of(const Json& component, const char* role, const char* list_key) {
  if (component.is_null()) return {};
  if (type_of(component, role) != "Sequence") return {component};
  std::vector<Json> steps;
  for (const Json& step : array_at(component, list_key)) {
    if (type_of(step, role) == "Sequence") refuse("a Sequence inside a Sequence", "one Sequence");
    steps.push_back(step);
  }
  return steps;
}

}  // namespace hydrofoil::text::json
