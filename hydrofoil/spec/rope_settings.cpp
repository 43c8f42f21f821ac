// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/rope_settings.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace hydrofoil::spec {
namespace {

using Json = nlohmann::json;

// Kinds of layers.
constexpr const char* kSliding = "sliding_attention";
constexpr const char* kFull = "full_attention";

struct KindName {
  const char* name;
  RopeKind kind;
};
constexpr KindName kKinds[] = {{"default", RopeKind::kPlain},
                               {"linear", RopeKind::kLinear},
                               {"dynamic", RopeKind::kDynamic},
                               {"llama3", RopeKind::kLlama3},
                               {"yarn", RopeKind::kYarn}};

RopeKind kind_from(const Fields& rope) {
  const std::string wanted = rope.text("rope_type", rope.text("type", "default").c_str());
  for (const auto& [name, kind] : kKinds)
    if (wanted == name) return kind;
  refuse(rope.where(), "rotary scaling \"" + wanted + "\" is not supported",
         "supported: default, linear, dynamic, llama3, yarn");
}

// What a scaled wave is multiplied by in attention: the paper's, or the ratio of two of them.
double yarn_attention_factor(const Fields& rope, double factor) {
  const auto scale = [&](double by) {
    return factor <= 1 ? 1.0 : 0.1 * by * std::log(factor) + 1.0;
  };
  const double over = rope.number("mscale", 0), under = rope.number("mscale_all_dim", 0);
  return rope.positive("attention_factor",
                       over != 0 && under != 0 ? scale(over) / scale(under) : scale(1));
}

RopeScaling scaling_from(const Fields& rope, const Fields& outer, const ModelSpec& spec) {
  RopeScaling scaling{.kind = kind_from(rope)};
  if (scaling.kind == RopeKind::kPlain) return {};
  if (!rope.find("factor")) refuse(rope.where(), "factor is missing");
  scaling.factor = rope.positive("factor", 1);
  if (scaling.kind == RopeKind::kLlama3 || scaling.kind == RopeKind::kYarn)
    scaling.original_positions =
        outer.size({"original_max_position_embeddings"})
            .value_or(rope.size({"original_max_position_embeddings"}).value_or(spec.max_positions));
  if (scaling.kind == RopeKind::kLlama3) {
    for (const char* key : {"low_freq_factor", "high_freq_factor"})
      if (!rope.find(key)) refuse(rope.where(), std::string(key) + " is missing");
    scaling.low_frequency = rope.positive("low_freq_factor", 1);
    scaling.high_frequency = rope.positive("high_freq_factor", 4);
    if (scaling.low_frequency >= scaling.high_frequency)
      refuse(rope.where(), "low_freq_factor must be below high_freq_factor");
  }
  if (scaling.kind == RopeKind::kYarn) {
    scaling.beta_fast = rope.positive("beta_fast", 32);
    scaling.beta_slow = rope.positive("beta_slow", 1);
    scaling.attention_factor = yarn_attention_factor(rope, scaling.factor);
    scaling.truncate = rope.flag("truncate", true);
  }
  return scaling;
}

// A setting that stands outside, in rope_scaling or in rope_parameters: equal wherever it stands.
class Agreeing {
 public:
  void take(const Fields& fields, const char* key) {
    if (!key || !fields.find(key)) return;
    const double value = fields.positive(key, 0);
    if (value_ && *value_ != value)
      refuse(fields.where(), std::string(key) + " stands here and outside with different values");
    value_ = value;
  }
  double value_or(double fallback) const { return value_.value_or(fallback); }

 private:
  std::optional<double> value_;
};

int64_t rotary_dim_from(const Fields& fields, double share, const ModelSpec& spec) {
  if (share > 1) refuse(fields.where(), "partial_rotary_factor must not be above 1");
  const auto dim = static_cast<int64_t>(static_cast<double>(spec.head_dim) * share);
  if (dim < 2 || dim % 2)
    refuse(fields.where(), "the share of a head of " + std::to_string(spec.head_dim) +
                               " that turns is " + std::to_string(dim) +
                               " dimensions, but rotary positions turn pairs: it must be even");
  return dim == spec.head_dim ? 0 : dim;
}

// The share that gives `dim` again when it is multiplied and rounded down.
double share_of(int64_t dim, int64_t head_dim) {
  double share = static_cast<double>(dim) / static_cast<double>(head_dim);
  while (static_cast<int64_t>(static_cast<double>(head_dim) * share) < dim)
    share = std::nextafter(share, 2);
  return share;
}

}  // namespace

void read_rotary(const Fields& fields, const Family& family, ModelSpec& spec) {
  const auto& keys = family.rotary;
  Agreeing theta, partial;
  theta.take(fields, keys.theta);
  if (keys.window_theta)
    spec.window_rope_theta = fields.positive(keys.window_theta, spec.window_rope_theta);
  partial.take(fields, keys.partial);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* value = fields.find(key);
    if (!value) continue;
    if (!value->is_object()) refuse(fields.where(), std::string(key) + " must be an object");
    if (keys.window_theta && value->contains(kSliding)) {  // one object for each kind of layer
      const Fields sliding(value->at(kSliding), fields.where() + ": " + key);
      spec.window_rope_theta = sliding.positive("rope_theta", spec.window_rope_theta);
      if (kind_from(sliding) != RopeKind::kPlain)
        refuse(sliding.where(), "rotary scaling of layers with a window is not supported");
      if (!value->contains(kFull)) continue;
      value = &value->at(kFull);
    }
    const Fields rope(*value, fields.where() + ": " + key);
    spec.rope_scaling = scaling_from(rope, fields, spec);
    if (spec.rope_scaling.kind != RopeKind::kPlain && !keys.scales)
      refuse(rope.where(), "rotary scaling of " + spec.family + " is not supported");
    theta.take(rope, "rope_theta");
    if (keys.partial)
      partial.take(rope, "partial_rotary_factor");
    else if (rope.number("partial_rotary_factor", 1) != 1)
      refuse(rope.where(), "partial_rotary_factor is not supported");
  }
  if (!keys.partial && fields.number("partial_rotary_factor", 1) != 1)
    fields.refuse_key("partial_rotary_factor");
  spec.rope_theta = theta.value_or(spec.rope_theta);
  spec.rotary_dim = rotary_dim_from(fields, partial.value_or(keys.default_partial), spec);
  if (spec.rope_scaling.kind == RopeKind::kDynamic && spec.turning_dim() == 2)
    refuse(fields.where(), "rotary scaling \"dynamic\" needs more than 2 turning dimensions");
}

void write_rotary(const ModelSpec& spec, const Family& family, nlohmann::ordered_json& json) {
  const auto& keys = family.rotary;
  json[keys.theta] = spec.rope_theta;
  if (keys.window_theta) json[keys.window_theta] = spec.window_rope_theta;
  if (keys.partial) json[keys.partial] = share_of(spec.turning_dim(), spec.head_dim);
  const auto& scaling = spec.rope_scaling;
  if (scaling.kind == RopeKind::kPlain) return;
  const auto name = std::ranges::find(kKinds, scaling.kind, &KindName::kind)->name;
  nlohmann::ordered_json rope = {{"rope_type", name}, {"factor", scaling.factor}};
  if (scaling.original_positions)
    rope["original_max_position_embeddings"] = scaling.original_positions;
  if (scaling.kind == RopeKind::kLlama3) {
    rope["low_freq_factor"] = scaling.low_frequency;
    rope["high_freq_factor"] = scaling.high_frequency;
  }
  if (scaling.kind == RopeKind::kYarn) {
    rope["beta_fast"] = scaling.beta_fast;
    rope["beta_slow"] = scaling.beta_slow;
    rope["attention_factor"] = scaling.attention_factor;
    rope["truncate"] = scaling.truncate;
  }
  json["rope_scaling"] = std::move(rope);
}

namespace {

std::vector<bool> layers_from(const Fields& fields, const Json& types, const ModelSpec& spec) {
  std::vector<bool> layers;
  for (const Json& type : types) {
    if (type != kSliding && type != kFull)
      refuse(fields.where(), "layer_types: " + type.dump() + " is not supported");
    layers.push_back(type == kSliding);
  }
  if (!types.is_array() || static_cast<int64_t>(layers.size()) != spec.layers)
    refuse(fields.where(),
           "layer_types must list each of the " + std::to_string(spec.layers) + " layers");
  return layers;
}

std::vector<bool> default_layers(const Fields& fields, Windows windows, const ModelSpec& spec) {
  std::vector<bool> layers(static_cast<size_t>(spec.layers), true);
  const double first = windows == Windows::kLast ? fields.number("max_window_layers", 28) : 0;
  const auto pattern = static_cast<size_t>(
      fields.size({"sliding_window_pattern", "_sliding_window_pattern"}).value_or(6));
  for (size_t i = 0; i < layers.size(); ++i)
    layers[i] = windows == Windows::kAlternate ? i % 2 == 0
                : windows == Windows::kPattern ? (i + 1) % pattern != 0
                                               : static_cast<double>(i) >= first;
  return layers;
}

}  // namespace

void read_windows(const Fields& fields, const Family& family, ModelSpec& spec) {
  if (family.windows == Windows::kNone) {
    if (fields.find("sliding_window")) fields.refuse_key("sliding_window");
    return;
  }
  if (fields.is_null("sliding_window")) return;
  if (family.windows == Windows::kLast && !fields.flag("use_sliding_window", false)) return;
  const int64_t window = fields.size({"sliding_window"}).value_or(family.default_window);
  const Json* types = family.windows == Windows::kAll ? nullptr : fields.find("layer_types");
  auto layers =
      types ? layers_from(fields, *types, spec) : default_layers(fields, family.windows, spec);
  if (std::ranges::find(layers, true) == layers.end()) return;
  spec.sliding_window = window;
  if (std::ranges::find(layers, false) != layers.end()) spec.window_layers = std::move(layers);
}

void write_windows(const ModelSpec& spec, const Family& family, nlohmann::ordered_json& json) {
  if (family.windows == Windows::kNone) return;
  json["sliding_window"] = nullptr;
  if (spec.sliding_window) json["sliding_window"] = spec.sliding_window;
  if (family.windows == Windows::kAll) return;
  if (family.windows == Windows::kLast) json["use_sliding_window"] = spec.sliding_window > 0;
  auto types = nlohmann::ordered_json::array();
  for (int64_t layer = 0; layer < spec.layers; ++layer)
    types.push_back(spec.window_of(layer) ? kSliding : kFull);
  json["layer_types"] = std::move(types);
}

}  // namespace hydrofoil::spec
