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
                                      int64_t unit_elements, spec::TensorPart part,
                                      const spec::HeldBlocks& held) {
  std::vector<UnitDeclaration> units;
  for (const auto& unit : spec::units(spec, unit_elements, held, part)) {
    UnitDeclaration declaration{.name = unit.name,
                                .parameters = {},
                                .reduced_twice = unit.tied_tile,
                                .has_twin = unit.has_twin};
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

// The stages of one copy of the model; where a weight is tied over them, the engine knows its twin.
std::unique_ptr<Stage> make_stage(const mesh::Mesh& mesh, const comm::Communicator& group,
                                  const spec::ModelSpec& spec, spec::ParameterTypes types,
                                  const Division& division, EngineOptions& options) {
  const int stages = mesh.extent(mesh::kPp), stage = mesh.coordinate(group.rank(), mesh::kPp);
  if (stages == 1) return nullptr;
  auto row = along(group, mesh, mesh::kPp, "pipeline");
  if (spec.tied_head) {
    const bool end = stage == 0 || stage + 1 == stages;
    auto alike = row.split(end ? 0 : 1, stage, "ends of a tied weight");
    if (end) options.twins = std::move(alike);
  }
  return std::make_unique<Stage>(
      parallel::Pipeline(std::move(row),
                         {.size = spec.hidden_size, .type = memory::scalar_type(types.others)}),
      division.pipeline, division.cuts, stage);
}

}  // namespace

Model make_model(comm::Communicator group, const spec::ModelSpec& spec, EngineOptions options,
                 spec::ParameterTypes types, const models::ProgramOptions& given,
                 const Division& division) {
  const mesh::Mesh mesh(division.axes, group.size());
  Model model;
  model.group = std::move(group);
  model.share = share_of(mesh, model.group.rank());
  models::ProgramOptions program = given;
  comm::Communicator slices = model.group;  // what ZeRO slices over
  const parallel::TensorAxis* tensor = nullptr;
  model.stage = make_stage(mesh, model.group, spec, types, division, options);
  if (model.stage) program.held = model.stage->held();
  if (mesh.extent(mesh::kPp | mesh::kTp) > 1) {
    slices = along(model.group, mesh, mesh::kDp | mesh::kSp, "zero");
    options.copy = along(model.group, mesh, mesh::kPp | mesh::kTp, "copy of the model");
  }
  if (division.axes.tp > 1) {
    auto axis =
        std::make_unique<parallel::TensorAxis>(along(model.group, mesh, mesh::kTp, "tensor"), spec);
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
      slices, units_of(spec, types, program.unit_elements, program.part(), program.held),
      std::move(options));
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

// The gradient of what block `block` got is complete: its backward ends, that of the one before
// begins, where it is here.
void watch_gradient(const at::Tensor& input, int block, UnitWatch* watch) {
  if (!watch || !input.requires_grad()) return;
  const bool received = input.is_leaf();
  input.register_hook([watch, block, received](const at::Tensor& gradient) {
    watch->end(Pass::kBackward, block, gradient);
    if (!received) watch->begin(Pass::kBackward, block - 1);
  });
}

}  // namespace

at::Tensor run_blocks(const models::Program& program, int first, int last, at::Tensor x,
                      const models::Batch& batch, const Kept& kept, UnitWatch* watch) {
  if (first == 0) x = batch.tokens;
  for (int block = first; block < last; ++block) {
    auto run = watched_layer(program, block, batch, watch);
    if (block > 0) watch_gradient(x, block, watch);
    x = block > 0 && kept.recompute ? models::recompute(std::move(run), x, kept.store) : run(x);
  }
  return x;
}

models::LossSum batch_loss(const models::Program& program, const models::Batch& batch,
                           const Kept& kept, UnitWatch* watch) {
  const int head = program.blocks() - 1;
  return head_loss(program, run_blocks(program, 0, head, {}, batch, kept, watch), batch, watch);
}

models::LossSum head_loss(const models::Program& program, const at::Tensor& x,
                          const models::Batch& batch, UnitWatch* watch) {
  const int head = program.blocks() - 1;
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
