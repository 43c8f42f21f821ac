// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/source.h"

#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/io/safetensors.h"

namespace hydrofoil::train {

void load_weights(Engine& engine, const checkpoint::Weights& weights) {
  engine.for_each_parameter([&](const memory::TensorInfo& info, Engine::Place) {
    const auto shape = weights.shape(info.name);
    if (shape != info.shape)
      throw Error(ExitCode::kCheckpoint,
                  "tensor has shape " + io::shape_text(shape) + ", the model wants " +
                      io::shape_text(info.shape),
                  info.name, "config.json and weights do not belong together");
  });
  engine.fill_parameters([&](const std::string& name, size_t begin, std::span<float> out) {
    weights.read(name, begin, out);
  });
}

}  // namespace hydrofoil::train
