// SPDX-License-Identifier: Apache-2.0
// Whether a run fits into this host's memory, and if not, the smallest change with which it does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/core/host.h"
#include "hydrofoil/plan/model.h"

namespace hydrofoil::plan {

struct Change {
  std::vector<std::string> settings;  // "recompute=true": after --set
  int ranks = 0;
  bool more_hosts = false;  // more ranks, on further hosts: where nothing else helps
  uint64_t needed_bytes = 0;
};

struct Fit {
  uint64_t needed_bytes = 0;  // all ranks of the host
  uint64_t usable_bytes = 0;
  bool fits() const { return needed_bytes <= usable_bytes; }
  std::optional<Change> change = {};  // where it does not fit; none: nothing tried helps
};

// Tries, the fewest and cheapest changes first: recompute, a higher stage, a smaller micro-batch
// with as much more accumulation, these together, and more ranks on further hosts.
Fit fit(const Model& model, const RunShape& run, const host::Memory& memory, int ranks_on_host);

}  // namespace hydrofoil::plan
