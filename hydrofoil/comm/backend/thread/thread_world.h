// SPDX-License-Identifier: Apache-2.0
// N ranks as threads of one process: for tests, and for one rank.
//
//   ThreadWorld world(4);
//   // in thread r:
//   Communicator mine = world.rank(r);
//
// All memory of the process is readable by all, so collectives copy nothing twice.
#pragma once

#include <chrono>
#include <memory>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::comm {

class SharedBackend;

class ThreadWorld {
 public:
  explicit ThreadWorld(int size, std::chrono::milliseconds timeout = std::chrono::minutes(10),
                       int first_rank = 0);  // as in SharedOptions

  // To be taken once; the rank has left when the last copy, and all split from it, are gone.
  Communicator rank(int rank) const;
  std::unique_ptr<SharedBackend> backend(int rank) const;

 private:
  struct Shared;
  class ThreadFabric;
  std::shared_ptr<Shared> shared_;
};

}  // namespace hydrofoil::comm
