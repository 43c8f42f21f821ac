// SPDX-License-Identifier: Apache-2.0
// Work that one rank does for all: its failure is everybody's, reported once.
#pragma once

#include <functional>
#include <string>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::train {

// An error that another rank has met and reports; carries its exit code.
class EchoedError : public Error {
 public:
  using Error::Error;
};

// Runs `work` on rank 0 while the others wait. When it throws an Error, rank 0 rethrows it and all
// others throw EchoedError. Collective.
void on_first_rank(const comm::Communicator& group, const std::string& what,
                   const std::function<void()>& work);

// The largest of the ranks' values. Collective.
int64_t maximum(const comm::Communicator& group, int64_t value);
// The seconds of the rank that took longest. Collective.
double slowest(const comm::Communicator& group, double seconds);

}  // namespace hydrofoil::train
