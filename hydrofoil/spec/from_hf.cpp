// SPDX-License-Identifier: Apache-2.0
// Reads a Hugging Face config.json by the keys of its family.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/json.h"
#include "hydrofoil/spec/family.h"
#include "hydrofoil/spec/fields.h"
#include "hydrofoil/spec/rope_settings.h"

namespace hydrofoil::spec {
namespace {

using Json = nlohmann::json;

template <class... Readers>
struct Overloaded : Readers... {
  using Readers::operator()...;
};

Json parse(const std::string& text, const std::string& where) {
  Json json;
  try {
    json = io::parse_json(text, where);
  } catch (const Error& error) {
    refuse(where, error.what());
  }
  if (!json.is_object()) refuse(where, "a model's config is a JSON object");
  return json;
}

// Settings that would change the model's results and that no executor implements.
void refuse_unsupported(const Fields& fields, const Family& family) {
  for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention",
                          "is_encoder_decoder", "rope_interleaved"})
    if (fields.flag(key, false)) fields.refuse_key(key);
  for (const char* key : family.refused)
    if (fields.flag(key, false)) fields.refuse_key(key);
  if (!fields.flag("scale_attn_weights", true)) fields.refuse_key("scale_attn_weights");
  if (const Json* pruned = fields.find("pruned_heads"); pruned && !pruned->empty())
    fields.refuse_key("pruned_heads");
  if (fields.find("quantization_config")) fields.refuse_key("quantization_config");
}

void read_key(const Fields& fields, const Key& key, ModelSpec& spec) {
  const auto size = [&](int64_t ModelSpec::* field) {
    const int64_t max = field == &ModelSpec::layers ? kMaxLayers : kMaxSize;
    const char* alias = key.alias ? key.alias : key.name;
    if (key.required)
      spec.*field = fields.required({key.name, alias}, max);
    else
      spec.*field = fields.size({key.name, alias}, max).value_or(spec.*field);
  };
  const auto number = [&](double ModelSpec::* field) {
    spec.*field = field == &ModelSpec::norm_epsilon ? fields.positive(key.name, spec.*field)
                                                    : fields.number(key.name, spec.*field);
  };
  std::visit(
      Overloaded{size, number,
                 [&](bool ModelSpec::* field) { spec.*field = fields.flag(key.name, spec.*field); },
                 [&](Activation ModelSpec::* field) {
                   spec.*field = fields.activation(key.name, spec.*field);
                 }},
      key.field);
}

const char* key_of(const Family& family, int64_t ModelSpec::* field, const char* otherwise) {
  for (const auto& key : family.keys)
    if (const auto* size = std::get_if<int64_t ModelSpec::*>(&key.field); size && *size == field)
      return key.name;
  return otherwise;
}

// Sizes that follow from others where they are not given, and what must divide what.
void complete_sizes(const Fields& fields, const Family& family, ModelSpec& spec) {
  const auto refuse_multiple = [&](int64_t ModelSpec::* of, int64_t ModelSpec::* by,
                                   const char* by_name, const std::string& more) {
    const std::string name = key_of(family, of, "");
    refuse(fields.where(), name + " " + std::to_string(spec.*of) + " is not a multiple of " +
                               key_of(family, by, by_name) + " " + std::to_string(spec.*by) + more);
  };
  if (!spec.kv_heads) spec.kv_heads = spec.heads;
  if (!spec.intermediate_size) spec.intermediate_size = 4 * spec.hidden_size;
  if (spec.heads % spec.kv_heads)
    refuse_multiple(&ModelSpec::heads, &ModelSpec::kv_heads, "key-value heads", "");
  if (spec.head_dim && spec.heads * spec.head_dim > kMaxSize)
    refuse(fields.where(), std::to_string(spec.heads) + " heads of " +
                               std::to_string(spec.head_dim) + " dimensions are more than " +
                               std::to_string(kMaxSize));
  if (spec.head_dim) return;
  if (spec.hidden_size % spec.heads)
    refuse_multiple(&ModelSpec::hidden_size, &ModelSpec::heads, "heads",
                    *key_of(family, &ModelSpec::head_dim, "") ? ", and head_dim is not given" : "");
  spec.head_dim = spec.hidden_size / spec.heads;
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j)
      diagonal = std::exchange(row[j + 1],
                               std::min({row[j + 1] + 1, row[j] + 1, diagonal + (a[i] != b[j])}));
  }
  return row.back();
}

// The known family with the longest beginning in common, then the fewest edits away.
std::string nearest_family(const std::string& wanted) {
  const auto rank = [&](const Family& family) {
    const std::string name = family.name;
    const auto common = std::ranges::mismatch(wanted, name).in1 - wanted.begin();
    return std::pair(-common, edit_distance(wanted, name));
  };
  return std::ranges::min_element(families(), {}, rank)->name;
}

const Family& family_in(const Fields& fields) {
  std::string known;
  for (const auto& name : known_families()) known += (known.empty() ? "" : ", ") + name;
  const std::string name = fields.text("model_type", "");
  if (name.empty()) refuse(fields.where(), "model_type is missing", "known: " + known);
  if (const auto* family = find_family(name)) return *family;
  refuse(fields.where(), "model_type \"" + name + "\" is not known",
         "nearest: " + nearest_family(name) + "; known: " + known);
}

}  // namespace

std::vector<std::string> known_families() {
  std::vector<std::string> names;
  for (const auto& family : families()) names.emplace_back(family.name);
  return names;
}

ModelSpec model_spec_from_hf(const std::string& json_text, const std::string& where) {
  const Json json = parse(json_text, where);
  const Fields fields(json, where);
  const Family& family = family_in(fields);
  refuse_unsupported(fields, family);
  ModelSpec spec = family.base;
  spec.family = family.name;
  for (const auto& key : family.keys) read_key(fields, key, spec);
  if (family.read_more) family.read_more(fields, spec);
  complete_sizes(fields, family, spec);
  if (spec.positions == Positions::kRotary && family.rotary.theta)
    read_rotary(fields, family, spec);
  read_windows(fields, family, spec);
  return spec;
}

std::vector<std::string> settings_not_applied(const std::string& json_text,
                                              const std::string& where) {
  const Json json = parse(json_text, where);
  const Fields fields(json, where);
  std::vector<std::string> lines;
  for (const char* key :
       {"resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "hidden_dropout", "dropout",
        "layerdrop", "residual_dropout", "embedding_dropout", "hidden_dropout_prob",
        "attention_probs_dropout_prob", "classifier_dropout"})
    if (fields.number(key, 0) > 0)
      lines.push_back(std::string(key) + " " + fields.find(key)->dump() +
                      " is not applied: training runs without dropout");
  return lines;
}

}  // namespace hydrofoil::spec
