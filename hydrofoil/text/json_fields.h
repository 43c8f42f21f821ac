// SPDX-License-Identifier: Apache-2.0
// Typed access to the parts of a tokenizer.json; what is wrong is Error(kData) and names the key.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace hydrofoil::text::json {

using Json = nlohmann::json;

[[noreturn]] void fail(const std::string& message, const std::string& hint = {});
[[noreturn]] void refuse(const std::string& what, const std::string& supported);

const Json& child(const Json& object, const std::string& key);  // absent and null read the same
const Json& object_at(const Json& object, const char* key);
const Json& array_at(const Json& object, const char* key);
std::string string_at(const Json& object, const char* key);
bool bool_at(const Json& object, const char* key, bool absent);
int32_t id_from(const Json& value, const std::string& what);
std::string type_of(const Json& component, const char* role);

// The component itself, or the members of a Sequence; none for null.
std::vector<Json> steps_of(const Json& component, const char* role, const char* list_key);

}  // namespace hydrofoil::text::json
