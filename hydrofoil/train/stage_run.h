// SPDX-License-Identifier: Apache-2.0
// What a rank of a pipeline does of a step, and of an evaluation.
#pragma once

#include <cstdint>
#include <span>

#include "hydrofoil/train/model.h"

namespace hydrofoil::train {

// Of this rank; the rest of the time it waits for other stages.
struct StageSeconds {
  double forward = 0, backward = 0;
};

// Whether a batch's contents matter to this rank: tokens to the first stage, labels to the last. A
// stage in the middle needs as many, and may leave them empty.
bool reads_batches(const Model& model);

// The micro-batches of a step, with their gradients: engine->step() is left to do. Collective.
StageSeconds run_stage(Model& model, std::span<const models::Batch> batches, const Kept& kept,
                       UnitWatch* watch = nullptr);
// Losses only.
parallel::PipelineRun run_stage_forward(const Model& model, std::span<const models::Batch> batches);

}  // namespace hydrofoil::train
