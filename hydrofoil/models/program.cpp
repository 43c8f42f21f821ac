// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/program.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include <vector>

#include "hydrofoil/models/decoder.h"
#include "hydrofoil/models/encoder.h"
#include "hydrofoil/models/initialize.h"

namespace hydrofoil::models {

std::unique_ptr<Program> make_program(const spec::ModelSpec& spec, const Allocate& allocate,
                                      const ProgramOptions& options) {
  if (spec.causal) return std::make_unique<Decoder>(spec, allocate, options);
  return std::make_unique<Encoder>(spec, allocate, options);
}

at::Tensor hidden_states(const Program& program, const Batch& batch) {
  auto x = batch.tokens;
  for (int b = 0; b + 1 < program.blocks(); ++b) x = program.forward(b, x, batch);
  return x;
}

LossSum forward_loss(const Program& program, const Batch& batch) {
  return program.loss(hidden_states(program, batch), batch);
}

void initialize(const Program& program, uint64_t seed) {
  at::NoGradGuard no_grad;
  std::vector<float> values;
  for (int b = 0; b < program.blocks(); ++b) {
    const auto specs = program.parameter_specs(b);
    for (size_t i = 0; i < specs.size(); ++i) {
      auto tensor = program.parameters(b)[i].tensor;
      const auto& parameter = specs[i];
      values.resize(static_cast<size_t>(tensor.numel()));
      parameter.box.for_each_run(0, values.size(), [&](const Box::Run& run) {
        initialize(parameter, seed, run.logical, std::span(values).subspan(run.local, run.count));
      });
      tensor.copy_(
          at::from_blob(values.data(), tensor.sizes(), at::TensorOptions().dtype(at::kFloat)));
    }
  }
}

}  // namespace hydrofoil::models
