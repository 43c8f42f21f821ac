// SPDX-License-Identifier: Apache-2.0
// Typed access to one object of a config.json, with errors that name the key.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::spec {

// Bounds keep every element count within int64: 2^24 * 2^24 * a few matrices * 2^12 layers.
inline constexpr int64_t kMaxSize = int64_t{1} << 24;
inline constexpr int64_t kMaxLayers = int64_t{1} << 12;

// Error(kConfig).
[[noreturn]] void refuse(const std::string& where, const std::string& message,
                         const std::string& hint = {});

// A null value counts as absent, as it does to HF.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const nlohmann::json* find(const std::string& key) const;
  bool is_null(const std::string& key) const;  // there, and null

  // The first of several names for one size; all that are present must agree.
  std::optional<int64_t> size(std::initializer_list<const char*> names,
                              int64_t max = kMaxSize) const;
  int64_t required(std::initializer_list<const char*> names, int64_t max = kMaxSize) const;
  double number(const char* name, double fallback) const;  // 0 or above
  double positive(const char* name, double fallback) const;
  bool flag(const char* name, bool fallback) const;
  std::string text(const char* name, const char* fallback) const;
  // text that names an activation function; absent: `fallback`.
  Activation activation(const char* name, Activation fallback) const;
  [[noreturn]] void refuse_key(const char* name) const;  // "NAME VALUE is not supported"

 private:
  const nlohmann::json& object_;
  std::string where_;
};

const char* activation_name(Activation activation);  // transformers'

}  // namespace hydrofoil::spec
