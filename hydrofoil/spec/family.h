// SPDX-License-Identifier: Apache-2.0
// What the readers and writers of this room know of each model family: data, in families_*.cpp.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::spec {

class Fields;  // fields.h

// One key of config.json that is one field of the spec, read and written alike. Absent, the field
// keeps the family's own value.
struct Key {
  using Field = std::variant<int64_t ModelSpec::*, double ModelSpec::*, bool ModelSpec::*,
                             Activation ModelSpec::*>;
  const char* name;
  Field field;
  bool required = false;
  const char* alias = nullptr;  // another name that is read
};

// How rotary positions are written down.
struct RotaryKeys {
  const char* theta = nullptr;    // null: nothing is read
  const char* partial = nullptr;  // share of a head that turns; null: all, and nothing else is read
  double default_partial = 1;
  bool scales = true;                  // rope_scaling is read
  const char* window_theta = nullptr;  // of layers with the window; null: one base for all
};

// Which layers have the sliding window when there is no layer_types.
enum class Windows : uint8_t {
  kNone,
  kAll,
  kLast,       // from max_window_layers on
  kAlternate,  // every second, from the first on
  kPattern,    // all but every sliding_window_pattern-th
};

// Names that hold instead of others in some models of a family.
struct SpecialNames {
  bool (*hold)(const ModelSpec&);
  std::map<Part, const char*> names;
};

struct Family {
  const char* name;          // model_type
  const char* architecture;  // for export
  ModelSpec base;            // what every model of the family has, and HF's defaults
  std::vector<Key> keys;
  RotaryKeys rotary = {};
  Windows windows = Windows::kNone;
  int64_t default_window = 0;
  std::vector<const char*> refused = {};  // flags that must not be true
  bool scaled_residual_init = false;      // GPT-2
  const char* layer_prefix;               // "model.layers."
  std::map<Part, const char*> names;      // of layers: after the prefix and the layer's number
  std::vector<const char*> zeros = {};    // dropouts to export as 0: HF's default is another
  std::vector<const char*> nulls = {};  // to export as null: HF's default may lie outside the model
  std::vector<SpecialNames> special_names = {};
  // Settings that are not one key for one field; null: none.
  void (*read_more)(const Fields&, ModelSpec&) = nullptr;
  void (*write_more)(const ModelSpec&, nlohmann::ordered_json&) = nullptr;
};

std::vector<Family> gpt_like_families();             // families_gpt.cpp
std::vector<Family> llama_like_families();           // families_llama.cpp
std::vector<Family> encoder_families();              // families_bert.cpp
std::span<const Family> families();                  // all
const Family* find_family(const std::string& name);  // null: not known
const Family& family_of(const ModelSpec& spec);      // std::logic_error: not known

}  // namespace hydrofoil::spec
