// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/fields.h"

#include <cmath>
#include <stdexcept>

#include "hydrofoil/core/error.h"

namespace hydrofoil::spec {
namespace {

using Json = nlohmann::json;

struct ActivationName {
  const char* name;
  Activation activation;
};
// The first name of each is the one that is written.
constexpr ActivationName kActivations[] = {
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"gelu_new", Activation::kGeluTanh},
    {"gelu_fast", Activation::kGeluTanh},
    {"gelu", Activation::kGelu},
    {"silu", Activation::kSilu},
    {"swish", Activation::kSilu},
    {"relu", Activation::kRelu},
};

}  // namespace

void refuse(const std::string& where, const std::string& message, const std::string& hint) {
  throw Error(ExitCode::kConfig, message, where, hint);
}

const Json* Fields::find(const std::string& key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool Fields::is_null(const std::string& key) const {
  const auto it = object_.find(key);
  return it != object_.end() && it->is_null();
}

std::optional<int64_t> Fields::size(std::initializer_list<const char*> names, int64_t max) const {
  std::optional<int64_t> found;
  for (const char* name : names) {
    const Json* value = find(name);
    if (!value) continue;
    if (!value->is_number_integer() || *value < 1 || *value > max)
      refuse(where_, std::string(name) + " must be a whole number from 1 to " +
                         std::to_string(max) + ", not " + value->dump());
    if (found && *found != value->get<int64_t>())
      refuse(where_, std::string(name) + " is " + value->dump() + ", but " + *names.begin() +
                         ", another name for it, is " + std::to_string(*found));
    found = value->get<int64_t>();
  }
  return found;
}

int64_t Fields::required(std::initializer_list<const char*> names, int64_t max) const {
  if (const auto value = size(names, max)) return *value;
  refuse(where_, std::string(*names.begin()) + " is missing",
         "it shapes the weights, so there is no default");
}

double Fields::number(const char* name, double fallback) const {
  const Json* value = find(name);
  if (!value) return fallback;
  if (!value->is_number() || !std::isfinite(value->get<double>()) || *value < 0)
    refuse(where_, std::string(name) + " must be a number, 0 or above, not " + value->dump());
  return value->get<double>();
}

double Fields::positive(const char* name, double fallback) const {
  const double value = number(name, fallback);
  if (value <= 0) refuse(where_, std::string(name) + " must be above 0");
  return value;
}

bool Fields::flag(const char* name, bool fallback) const {
  const Json* value = find(name);
  if (!value) return fallback;
  if (!value->is_boolean())
    refuse(where_, std::string(name) + " must be true or false, not " + value->dump());
  return value->get<bool>();
}

std::string Fields::text(const char* name, const char* fallback) const {
  const Json* value = find(name);
  if (!value) return fallback;
  if (!value->is_string())
    refuse(where_, std::string(name) + " must be a string, not " + value->dump());
  return value->get<std::string>();
}

Activation Fields::activation(const char* name, Activation fallback) const {
  const std::string wanted = text(name, activation_name(fallback));
  std::string known;
  for (const auto& [candidate, activation] : kActivations) {
    if (wanted == candidate) return activation;
    known += (known.empty() ? "" : ", ") + std::string(candidate);
  }
  refuse(where_, std::string(name) + " \"" + wanted + "\" is not known", "known: " + known);
}

void Fields::refuse_key(const char* name) const {
  refuse(where_, std::string(name) + " " + find(name)->dump() + " is not supported");
}

const char* activation_name(Activation activation) {
  for (const auto& known : kActivations)
    if (known.activation == activation) return known.name;
  throw std::logic_error("activation_name: not an activation");
}

}  // namespace hydrofoil::spec
