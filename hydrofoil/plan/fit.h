// SPDX-License-Identifier: Apache-2.0
// Whether a run fits into this host's memory and onto its disks, and if not, the smallest change
// with which it does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/plan/disk_plan.h"
#include "hydrofoil/plan/model.h"

namespace hydrofoil::plan {

struct Host {
  host::Memory memory;
  int ranks = 1;  // of the run, on this host
  Disks disks = {};
};

struct Change {
  std::vector<std::string> settings;  // "recompute=true": after --set
  int ranks = 0;
  bool more_hosts = false;  // more ranks, on further hosts: where nothing else helps
  uint64_t needed_bytes = 0;
};

struct Fit {
  uint64_t needed_bytes = 0;  // all ranks of the host
  uint64_t usable_bytes = 0;
  std::vector<DiskUse> disks = {};
  uint64_t written_bytes = 0;                      // to files, in the whole run
  std::optional<uint64_t> max_bytes_written = {};  // that it may
  bool fits_memory() const { return needed_bytes <= usable_bytes; }
  bool fits_disks() const;  // also what may be written to them
  bool fits() const { return fits_memory() && fits_disks(); }
  std::optional<Change> change = {};  // where it does not fit; none: nothing tried helps
};

// Tries, the fewest and cheapest changes first: units smaller than blocks where parameters lie in
// files, recompute, a higher stage, a smaller micro-batch with as much more accumulation, state in
// files where memory does not suffice and a folder has room, less of it in files or fewer
// checkpoints where a disk does not, these together, and more ranks on further hosts.
Fit fit(const Model& model, const RunShape& run, const Host& host);

// "--set recompute=true --set .."
std::string to_text(const Change& change);
// What does not fit, with the change as its hint; nothing for what fits.
std::optional<Error> refusal(const Fit& fit);
// Of the disks alone.
std::optional<Error> disk_refusal(const Fit& fit);

}  // namespace hydrofoil::plan
