// SPDX-License-Identifier: Apache-2.0
// Writes a ModelSpec as the config.json that transformers reads.
#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/spec/family.h"
#include "hydrofoil/spec/fields.h"
#include "hydrofoil/spec/rope_settings.h"

namespace hydrofoil::spec {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson json_of(Activation activation) {
  return activation_name(activation);
}
template <class T>
OrderedJson json_of(const T& value) {
  return value;
}

}  // namespace

std::string hf_config(const ModelSpec& spec) {
  const Family& family = family_of(spec);
  OrderedJson json = {{"architectures", {family.architecture}}, {"model_type", family.name}};
  for (const auto& key : family.keys)
    json[key.name] = std::visit([&](auto field) { return json_of(spec.*field); }, key.field);
  if (spec.positions == Positions::kRotary && family.rotary.theta) write_rotary(spec, family, json);
  write_windows(spec, family, json);
  for (const char* key : family.zeros) json[key] = 0.0;
  for (const char* key : family.nulls) json[key] = nullptr;
  if (family.write_more) family.write_more(spec, json);
  return json.dump(2) + "\n";
}

}  // namespace hydrofoil::spec
