// SPDX-License-Identifier: Apache-2.0
// A ModelSpec as a program whose parameters an engine manages.
#pragma once

#include <memory>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/mesh/mesh.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/models/recompute.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/train/engine.h"
#include "hydrofoil/train/unit_watch.h"

namespace hydrofoil::train {

// spec::units as an engine takes them.
std::vector<UnitDeclaration> units_of(const spec::ModelSpec& spec, spec::ParameterTypes types = {},
                                      int64_t unit_elements = 0, spec::TensorPart part = {});

// Whose samples a rank takes: those of one of `ranks` data-parallel ranks, and of their sequences
// one of `parts`.
struct Share {
  int64_t rank = 0, ranks = 1;
  int part = 0, parts = 1;
};

struct Model {
  comm::Communicator group;                    // all ranks of the model
  std::unique_ptr<Engine> engine;              // declared first: the program's tensors refer to it
  std::unique_ptr<models::SequenceSeam> seam;  // null: sequences are whole
  std::unique_ptr<models::TensorSeam> tensor;  // null: matrices are whole
  std::unique_ptr<models::Program> program;
  Share share;
};

// Values are zeros until initialize or restore. Never holds more than the slices and one unit.
// `axes` are those of the group: ZeRO slices over dp and sp alike, among ranks that hold the same
// part of every matrix (tp). Collective.
Model make_model(comm::Communicator group, const spec::ModelSpec& spec, EngineOptions options,
                 spec::ParameterTypes types = {}, const models::ProgramOptions& program = {},
                 const mesh::Sizes& axes = {});
// From counter-based random numbers: the same model on any number of ranks.
void initialize(Model& model, uint64_t seed);

// What layers keep until backward: everything, or their inputs only, running again then. Inputs may
// wait in a store, which must outlive the loss.
struct Kept {
  Kept(bool recomputed, models::ActivationStore* where = nullptr)  // implicit: the usual cases
      : recompute(recomputed), store(where) {}
  bool recompute;
  models::ActivationStore* store;
};

// Sum of the losses of a batch. `watch` is told of every block, in backward too, and must outlive
// it.
models::LossSum batch_loss(const models::Program& program, const models::Batch& batch,
                           const Kept& kept, UnitWatch* watch = nullptr);
// engine->backward of such a loss, watched.
void backward(Model& model, const models::LossSum& loss, UnitWatch& watch);

}  // namespace hydrofoil::train
