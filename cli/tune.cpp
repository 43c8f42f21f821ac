// SPDX-License-Identifier: Apache-2.0
#include "cli/tune.h"

#include "cli/command_line.h"
#include "cli/local_ranks.h"
#include "hydrofoil/train/probe.h"

namespace hydrofoil::cli {

int tune(int ranks, const config::RunConfig& run, const spec::ModelSpec& spec,
         const std::function<int(const plan::Rates&)>& then) {
  return run_on_ranks(ranks, run.comm.backend, [&](const comm::Communicator& world) {
    auto rates = train::probe(world, run, spec);
    rates.program = version_line();
    return world.rank() == 0 ? then(rates) : 0;
  });
}

}  // namespace hydrofoil::cli
