// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/model.h"

#include <functional>
#include <map>
#include <utility>

#include "hydrofoil/models/initialize.h"
#include "hydrofoil/models/recompute.h"
#include "hydrofoil/parallel/head_shares.h"
#include "hydrofoil/parallel/sequence.h"
#include "hydrofoil/parallel/tensor.h"
#include "hydrofoil/spec/units.h"

namespace hydrofoil::train {

std::vector<UnitDeclaration> units_of(const spec::ModelSpec& spec, spec::ParameterTypes types,
                                      int64_t unit_elements, spec::TensorPart part) {
  std::vector<UnitDeclaration> units;
  for (const auto& unit : spec::units(spec, unit_elements, {}, part)) {
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

// The ranks that differ from this one along these axes only.
comm::Communicator along(const comm::Communicator& group, const mesh::Mesh& mesh, mesh::Axes axes,
                         std::string_view name) {
  return group.split(mesh.group_index(group.rank(), axes), group.rank(), name);
}

}  // namespace

Model make_model(comm::Communicator group, const spec::ModelSpec& spec, EngineOptions options,
                 spec::ParameterTypes types, const models::ProgramOptions& given,
                 const mesh::Sizes& axes) {
  const mesh::Mesh mesh(axes, group.size());
  Model model;
  model.group = std::move(group);
  model.share = share_of(mesh, model.group.rank());
  models::ProgramOptions program = given;
  comm::Communicator slices = model.group;  // what ZeRO slices over
  const parallel::TensorAxis* tensor = nullptr;
  if (axes.tp > 1) {
    slices = along(model.group, mesh, mesh::kDp | mesh::kSp, "zero");
    options.copy = along(model.group, mesh, mesh::kTp, "tensor");
    auto axis = std::make_unique<parallel::TensorAxis>(options.copy, spec);
    program.tensor = tensor = axis.get();
    model.tensor = std::move(axis);
  }
  if (model.share.parts > 1) {
    const int64_t heads = spec::heads_of(spec, program.part()).count;
    model.seam =
        std::make_unique<parallel::SequenceAxis>(along(model.group, mesh, mesh::kSp, "sequence"),
                                                 parallel::ring_size(heads, model.share.parts));
    program.sequence = model.seam.get();
  }
  model.engine = std::make_unique<Engine>(
      slices, units_of(spec, types, program.unit_elements, program.part()), std::move(options));
  model.program = models::make_program(
      spec,
      [&, next = size_t{0}](int, const spec::ParameterSpec&) mutable {
        return model.engine->tensor(next++);  // units and blocks list them in one order
      },
      program);
  if (tensor) tensor->share_gradients(*model.program);
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
