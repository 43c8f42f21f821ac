// SPDX-License-Identifier: Apache-2.0
// A ModelSpec as a program whose parameters an engine manages.
#pragma once

#include <memory>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/mesh/mesh.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/models/recompute.h"
#include "hydrofoil/parallel/pipeline.h"
#include "hydrofoil/parallel/stages.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/train/engine.h"
#include "hydrofoil/train/unit_watch.h"

namespace hydrofoil::train {

// spec::units as an engine takes them.
std::vector<UnitDeclaration> units_of(const spec::ModelSpec& spec, spec::ParameterTypes types = {},
                                      int64_t unit_elements = 0, spec::TensorPart part = {},
                                      const spec::HeldBlocks& held = {});

// Whose samples a rank takes: those of one of `ranks` data-parallel ranks, and of their sequences
// one of `parts`.
struct Share {
  int64_t rank = 0, ranks = 1;
  int part = 0, parts = 1;
};

// How ranks share the work: along which axes, and how those of a pipeline take turns.
struct Division {
  mesh::Sizes axes = {};
  parallel::PipelineChoice pipeline = {};  // its stages are those of `axes`
  parallel::Cuts cuts = {};                // of the blocks (parallel/stages.h); one stage: none
};

// A rank that is a stage of a pipeline.
struct Stage {
  parallel::Pipeline pipeline;
  parallel::PipelineChoice choice;
  parallel::Cuts cuts;
  int stage = 0;
  spec::HeldBlocks held() const { return parallel::held_blocks(cuts, choice.stages, stage); }
};

struct Model {
  comm::Communicator group;        // of all ranks; the engine's are those of the same stage
  std::unique_ptr<Engine> engine;  // before the program, whose tensors refer to it
  std::unique_ptr<models::SequenceSeam> seam;  // null: sequences are whole
  std::unique_ptr<models::TensorSeam> tensor;  // null: matrices are whole
  std::unique_ptr<models::Program> program;
  std::unique_ptr<Stage> stage;  // null: every rank has all blocks
  Share share;
};

// Values are zeros until initialize or restore. Never holds more than the slices and one unit.
// ZeRO slices over dp and sp alike, among ranks that hold the same stage and the same part of every
// matrix (tp). Collective.
Model make_model(comm::Communicator group, const spec::ModelSpec& spec, EngineOptions options,
                 spec::ParameterTypes types = {}, const models::ProgramOptions& program = {},
                 const Division& division = {});
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
// Blocks [first, last) of it, none of them the head: from tokens where first is 0, else from the
// hidden states `x`.
at::Tensor run_blocks(const models::Program& program, int first, int last, at::Tensor x,
                      const models::Batch& batch, const Kept& kept, UnitWatch* watch = nullptr);
// And the head.
models::LossSum head_loss(const models::Program& program, const at::Tensor& x,
                          const models::Batch& batch, UnitWatch* watch = nullptr);
// engine->backward of such a loss, watched.
void backward(Model& model, const models::LossSum& loss, UnitWatch& watch);

}  // namespace hydrofoil::train
