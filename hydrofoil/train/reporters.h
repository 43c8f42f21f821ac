// SPDX-License-Identifier: Apache-2.0
// Who listens to a run: what the run file asks for.
#pragma once

#include <optional>
#include <string>

#include "hydrofoil/config/run.h"
#include "hydrofoil/monitor/reporter.h"
#include "hydrofoil/train/snapshot.h"

namespace hydrofoil::train {

// Of rank 0. `resumed`: where the run goes on; none: a new one. `json`: to standard output too.
monitor::Reporters open_reporters(const config::RunConfig& run,
                                  const std::optional<Progress>& resumed, bool json);

// What the run runs on, for its report: one JSON object of texts and numbers.
std::string machine_json(int ranks, int threads, const std::string& program);

}  // namespace hydrofoil::train
