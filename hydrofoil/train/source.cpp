// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/source.h"

#include <string>

namespace hydrofoil::train {

void load_weights(Engine& engine, const checkpoint::Weights& weights) {
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place) {
    weights.require_shape(info.name, info.shape);
  });
  engine.fill_parameters([&](const std::string& name, size_t begin, std::span<float> out) {
    weights.read(name, begin, out);
  });
}

}  // namespace hydrofoil::train
