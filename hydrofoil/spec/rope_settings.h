// SPDX-License-Identifier: Apache-2.0
// Rotary positions and sliding windows in config.json, in the forms of transformers 4 and 5.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "hydrofoil/spec/family.h"
#include "hydrofoil/spec/fields.h"

namespace hydrofoil::spec {

// Fills rope_theta, rotary_dim and rope_scaling of a spec whose sizes are known.
void read_rotary(const Fields& fields, const Family& family, ModelSpec& spec);
void write_rotary(const ModelSpec& spec, const Family& family, nlohmann::ordered_json& json);

// sliding_window, use_sliding_window, max_window_layers, layer_types.
void read_windows(const Fields& fields, const Family& family, ModelSpec& spec);
void write_windows(const ModelSpec& spec, const Family& family, nlohmann::ordered_json& json);

}  // namespace hydrofoil::spec
