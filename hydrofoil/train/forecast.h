// SPDX-License-Identifier: Apache-2.0
// What the planner says of a run: reported at its end beside what was measured.
#pragma once

#include "hydrofoil/comm/meter.h"
#include "hydrofoil/config/batch.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/monitor/reporter.h"
#include "hydrofoil/plan/rates.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/train/engine.h"

namespace hydrofoil::train {

// Memory by the ledger's categories, bytes on the wire and from and to files, of one rank and one
// step; its time where the machine's rates are known.
monitor::RunFigures forecast(const config::RunConfig& run, const spec::ModelSpec& spec,
                             const config::BatchSizes& batch, const EngineOptions& options,
                             const plan::Machine& machine);

// The same of a step that was measured: what parameters and gradients cost on the wire, by
// operation, and all the rest (norms, losses, agreements) as "control".
monitor::NamedBytes wire_bytes(const comm::MeterSnapshot& used);
monitor::NamedBytes memory_bytes(const memory::Ledger& ledger);

}  // namespace hydrofoil::train
