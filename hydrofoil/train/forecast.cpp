// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/forecast.h"

#include "hydrofoil/plan/from_config.h"
#include "hydrofoil/plan/memory_plan.h"
#include "hydrofoil/plan/model.h"
#include "hydrofoil/plan/wire_plan.h"

namespace hydrofoil::train {

monitor::RunFigures forecast(const config::RunConfig& run, const spec::ModelSpec& spec,
                             const config::BatchSizes& batch, const EngineOptions& options) {
  const auto model = plan::model_of(spec);
  auto shape = plan::shape_of(run, batch, spec);
  shape.resident_bytes = options.resident_bytes;
  const auto memory = plan::plan_memory(model, shape);
  return {.memory_bytes = {{"parameters", memory.parameters()},
                           {"gradients", memory.gradients},
                           {"optimizer", memory.optimizer},
                           {"peak", memory.state()}},
          .wire_bytes = plan::plan_wire(model, shape).by_operation(),
          .step_seconds = {}};
}

}  // namespace hydrofoil::train
