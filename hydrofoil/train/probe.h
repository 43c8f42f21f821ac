// SPDX-License-Identifier: Apache-2.0
// Measures what this machine reaches in the work that a run consists of.
//
//   plan::Rates rates = train::probe(world, run, spec);   // seconds; all ranks at once
//   plan::plan_time(model, shape, rates.machine);
//
// Every rank works while all others do, as in the run. Layers, and embedding with head and loss,
// are timed as they are in this model: forward and backward of a micro-batch with one layer and
// with three. The update steps through arrays of its own; the wire carries 8 MiB; files lie in the
// run's nvme_path and have no name, so nothing is left of them.
#pragma once

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/config/run.h"
#include "hydrofoil/plan/rates.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::train {

// Collective; the same on every rank.
plan::Rates probe(const comm::Communicator& group, const config::RunConfig& run,
                  const spec::ModelSpec& spec);

}  // namespace hydrofoil::train
