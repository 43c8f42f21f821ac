// SPDX-License-Identifier: Apache-2.0
// What `hydrofoil plan --tune` measures, on ranks of its own.
#pragma once

#include <functional>

#include "hydrofoil/config/run.h"
#include "hydrofoil/plan/rates.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::cli {

// A cli::Tuner (plan_command.h).
int tune(int ranks, const config::RunConfig& run, const spec::ModelSpec& spec,
         const std::function<int(const plan::Rates&)>& then);

}  // namespace hydrofoil::cli
