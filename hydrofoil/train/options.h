// SPDX-License-Identifier: Apache-2.0
// From what a user configured to what the engine is told.
#pragma once

#include "hydrofoil/config/batch.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/train/model.h"

namespace hydrofoil::train {

// Where inputs of recomputed layers wait; nothing: in memory.
std::optional<memory::FileTierOptions> activation_files(const config::RunConfig& run);
models::ProgramOptions program_options(const config::RunConfig& run);
// How the run's ranks share the work. Error(kConfig) for what a model cannot be divided into.
Division division_of(const config::RunConfig& run, const spec::ModelSpec& spec);
EngineOptions engine_options(const config::RunConfig& run, const config::BatchSizes& batch);

}  // namespace hydrofoil::train
