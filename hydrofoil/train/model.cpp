// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/model.h"

#include <functional>
#include <map>
#include <utility>

#include "hydrofoil/models/initialize.h"
#include "hydrofoil/models/recompute.h"
#include "hydrofoil/parallel/head_shares.h"
#include "hydrofoil/parallel/sequence.h"
#include "hydrofoil/spec/units.h"

namespace hydrofoil::train {

std::vector<UnitDeclaration> units_of(const spec::ModelSpec& spec, spec::ParameterTypes types,
                                      int64_t unit_elements) {
  std::vector<UnitDeclaration> units;
  for (const auto& unit : spec::units(spec, unit_elements)) {
    UnitDeclaration declaration{
        .name = unit.name, .parameters = {}, .reduced_twice = unit.tied_tile};
    for (const auto& parameter : unit.parameters) {
      declaration.parameters.push_back(
          {.name = parameter.name,
           .shape = parameter.shape,
           .dtype = types.of(parameter),
           .sparse = parameter.part == spec::Part::kTokens && !spec.tied_head,
           .box = parameter.box});
    }
    units.push_back(std::move(declaration));
  }
  return units;
}

namespace {

Share share_of(const mesh::Mesh& mesh, int rank) {
  return {.rank = mesh.coordinate(rank, mesh::kDp),
          .ranks = mesh.extent(mesh::kDp),
          .part = mesh.coordinate(rank, mesh::kSp),
          .parts = mesh.extent(mesh::kSp)};
}

}  // namespace

Model make_model(comm::Communicator group, const spec::ModelSpec& spec, EngineOptions options,
                 spec::ParameterTypes types, const models::ProgramOptions& given,
                 const mesh::Sizes& axes) {
  const mesh::Mesh mesh(axes, group.size());
  Model model;
  model.share = share_of(mesh, group.rank());
  models::ProgramOptions program = given;
  if (model.share.parts > 1) {
    const int sharing = mesh.group_index(group.rank(), mesh::kSp);
    model.seam = std::make_unique<parallel::SequenceAxis>(
        group.split(sharing, model.share.part, "sequence"),
        parallel::ring_size(spec.heads, model.share.parts));
    program.sequence = model.seam.get();
  }
  model.engine = std::make_unique<Engine>(
      std::move(group), units_of(spec, types, program.unit_elements), std::move(options));
  model.program = models::make_program(
      spec,
      [&, next = size_t{0}](int, const spec::ParameterSpec&) mutable {
        return model.engine->tensor(next++);  // units and blocks list them in one order
      },
      program);
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

namespace {

// The block's forward, told to `watch`: the first call is forward, later ones are recomputation.
std::function<at::Tensor(const at::Tensor&)> watched_layer(const models::Program& program,
                                                           int block, const models::Batch& batch,
                                                           UnitWatch* watch) {
  return [&program, block, batch, watch, pass = Pass::kForward](const at::Tensor& input) mutable {
    if (watch) watch->begin(pass, block);
    auto output = program.forward(block, input, batch);
    if (watch) watch->end(pass, block, output);
    pass = Pass::kRecompute;
    return output;
  };
}

// The gradient of what block `block` got is complete: its backward ends, the one before begins.
void watch_gradient(const at::Tensor& input, int block, UnitWatch* watch) {
  if (!watch || !input.requires_grad()) return;
  input.register_hook([watch, block](const at::Tensor& gradient) {
    watch->end(Pass::kBackward, block, gradient);
    watch->begin(Pass::kBackward, block - 1);
  });
}

}  // namespace

models::LossSum batch_loss(const models::Program& program, const models::Batch& batch,
                           const Kept& kept, UnitWatch* watch) {
  at::Tensor x = watched_layer(program, 0, batch, watch)(batch.tokens);
  const int head = program.blocks() - 1;
  for (int block = 1; block < head; ++block) {
    watch_gradient(x, block, watch);
    auto layer = watched_layer(program, block, batch, watch);
    x = kept.recompute ? models::recompute(std::move(layer), x, kept.store) : layer(x);
  }
  watch_gradient(x, head, watch);
  if (watch) watch->begin(Pass::kForward, head);
  auto loss = program.loss(x, batch);
  if (watch) watch->end(Pass::kForward, head, loss.sum);
  return loss;
}

void backward(Model& model, const models::LossSum& loss, UnitWatch& watch) {
  watch.begin(Pass::kBackward, model.program->blocks() - 1);
  model.engine->backward(loss.sum, loss.weight);
  watch.end(Pass::kBackward, 0, {});
}

}  // namespace hydrofoil::train
