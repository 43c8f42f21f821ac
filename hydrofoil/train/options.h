// SPDX-License-Identifier: Apache-2.0
// From what a user configured to what the engine is told.
#pragma once

#include "hydrofoil/config/batch.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/train/engine.h"

namespace hydrofoil::train {

EngineOptions engine_options(const config::RunConfig& run, const config::BatchSizes& batch);

}  // namespace hydrofoil::train
