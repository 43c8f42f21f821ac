// SPDX-License-Identifier: Apache-2.0
// Backends that need a library which not every machine has: modules beside the program, loaded when
// they are asked for.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/comm/backend/message/transport.h"

namespace hydrofoil::comm {

// name: "mpi", "gloo" or "nccl". Collective. Error(kConfig) says what is missing, other errors why
// the ranks do not come together.
std::unique_ptr<Transport> open_transport(std::string_view name, const TransportRequest& request);

struct BackendFact {
  std::string name;
  bool available = false;
  std::string detail;  // the library and its version, or what is missing
};
// Of every backend, in this program on this machine.
std::vector<BackendFact> backends();

}  // namespace hydrofoil::comm
