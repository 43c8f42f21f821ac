// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/model.h"

#include <map>
#include <utility>

#include "hydrofoil/models/initialize.h"
#include "hydrofoil/models/recompute.h"

namespace hydrofoil::train {

std::vector<UnitDeclaration> units_of(const spec::ModelSpec& spec, DType dtype) {
  std::vector<UnitDeclaration> units;
  for (const auto& block : spec::blocks(spec)) {
    UnitDeclaration unit{.name = block.name, .parameters = {}};
    for (const auto& parameter : block.parameters)
      unit.parameters.push_back({.name = parameter.name, .shape = parameter.shape, .dtype = dtype});
    units.push_back(std::move(unit));
  }
  return units;
}

Model make_model(comm::Communicator group, const spec::ModelSpec& spec, EngineOptions options,
                 DType compute) {
  Model model;
  model.engine =
      std::make_unique<Engine>(std::move(group), units_of(spec, compute), std::move(options));
  model.program =
      std::make_unique<models::Decoder>(spec, [&](int, const spec::ParameterSpec& parameter) {
        return model.engine->tensor(parameter.name);
      });
  return model;
}

void initialize(Model& model, uint64_t seed) {
  std::map<std::string, spec::ParameterSpec> parameters;
  for (auto& block : spec::blocks(model.program->spec()))
    for (auto& parameter : block.parameters) parameters.emplace(parameter.name, parameter);
  model.engine->fill_parameters([&](const std::string& name, size_t begin, std::span<float> out) {
    models::initialize(parameters.at(name), seed, begin, out);
  });
}

models::LossSum batch_loss(const models::Program& program, const models::Batch& batch,
                           bool recompute) {
  at::Tensor x = program.forward(0, batch.tokens, batch);
  for (int block = 1; block + 1 < program.blocks(); ++block) {
    const auto layer = [&program, block, batch](const at::Tensor& input) {
      return program.forward(block, input, batch);
    };
    x = recompute ? models::recompute(layer, x) : layer(x);
  }
  return program.loss(x, batch);
}

}  // namespace hydrofoil::train
