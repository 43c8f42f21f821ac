// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/source.h"

#include <map>
#include <string>

#include "hydrofoil/models/initialize.h"

namespace hydrofoil::train {

void load_weights(Engine& engine, const checkpoint::Weights& weights) {
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place) {
    weights.require_shape(info.name, info.whole_shape());
  });
  engine.fill_parameters([&](const std::string& name, size_t begin, std::span<float> out) {
    weights.read(name, begin, out);
  });
}

void load_body(Model& model, const checkpoint::Weights& weights, uint64_t seed) {
  std::map<std::string, spec::ParameterSpec> head;
  const auto blocks = spec::blocks(model.program->spec());
  for (const auto& parameter : blocks.back().parameters) head.emplace(parameter.name, parameter);
  model.engine->for_each_parameter([&](const memory::TensorInfo& info, Engine::Place) {
    if (!head.contains(info.name)) weights.require_shape(info.name, info.whole_shape());
  });
  model.engine->fill_parameters([&](const std::string& name, size_t begin, std::span<float> out) {
    if (const auto fresh = head.find(name); fresh != head.end()) {
      models::initialize(fresh->second, seed, begin, out);
    } else {
      weights.read(name, begin, out);
    }
  });
}

}  // namespace hydrofoil::train
