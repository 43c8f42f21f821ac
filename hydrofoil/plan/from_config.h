// SPDX-License-Identifier: Apache-2.0
// The run that a configuration describes, as the planner's few numbers.
#pragma once

#include "hydrofoil/config/batch.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/parallel/stages.h"
#include "hydrofoil/plan/disk_plan.h"
#include "hydrofoil/plan/model.h"

namespace hydrofoil::plan {

// What operators see parameters as on this processor.
spec::ParameterTypes compute_types(const config::RunConfig& run);

// Elements of a column in one piece of a file: as configured, in whole blocks of the disk.
size_t piece_elements(const config::RunConfig& run);

// Error(kConfig) for sequences longer than the model's positions.
void check_positions(const config::RunConfig& run, const spec::ModelSpec& spec);
// After that check.
// The part of a rank that counts so among those that share the model's matrices.
spec::TensorPart tensor_part(const config::RunConfig& run, int rank = 0);
// As a rank has it: of those that share matrices the first, which has no less than the others.
Model model_of(const config::RunConfig& run, const spec::ModelSpec& spec);
RunShape shape_of(const config::RunConfig& run, const config::BatchSizes& batch,
                  const spec::ModelSpec& spec);
// Stages of its pipeline, and where the blocks of each begin; of one stage: all blocks.
parallel::PipelineChoice pipeline_of(const config::RunConfig& run);
// Partition "measured" needs, and reads, the run's rates: Error(kConfig) where there are none.
parallel::Cuts cuts_of(const config::RunConfig& run, const spec::ModelSpec& spec);
// The same of another pipeline, where layers are recomputed or not.
parallel::Cuts cuts_of(const config::RunConfig& run, const spec::ModelSpec& spec,
                       const parallel::PipelineChoice& choice, bool recompute);
// Where it writes on this host. Error(kError) for an nvme_path that is not there.
Disks disks_of(const config::RunConfig& run);

}  // namespace hydrofoil::plan
