// SPDX-License-Identifier: Apache-2.0
// Steps that all ranks take together, and that fail for all when they fail for one.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::checkpoint {

// Runs `step` on every rank and waits for all. Returns what the steps returned, by rank. When some
// threw, every rank throws what the first of them did: std::logic_error as it is, anything else as
// Error(kCheckpoint) that says which rank. Collective; failures of the group itself pass through.
std::vector<std::string> together(const comm::Communicator& group, std::string_view name,
                                  const std::function<std::string()>& step);

// Runs `body`; whatever Error it throws becomes Error(kCheckpoint).
void as_checkpoint_errors(const std::function<void()>& body);

}  // namespace hydrofoil::checkpoint
