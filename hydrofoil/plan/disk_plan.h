// SPDX-License-Identifier: Apache-2.0
// The disks of this host that a run writes to, and what it needs of each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/plan/model.h"

namespace hydrofoil::plan {

// A folder, and the file system it lies on as it is now.
struct Disk {
  std::string folder = {};
  uint64_t device = 0;  // equal for folders of one file system
  uint64_t free_bytes = 0;
  std::string kind = {};  // "tmpfs", "nfs": not a local disk; else empty
};

// Of a folder that exists. Error(kError) otherwise.
Disk disk_at(const std::string& folder);
// Of one that may have to be made: the nearest above it that exists.
Disk disk_above(const std::string& folder);

// None: the run has no such folder.
struct Disks {
  // nvme_path of offload_optimizer and of offload_param.
  std::optional<Disk> states = {}, parameters = {};
  std::optional<Disk> output = {};
  std::optional<Disk> activations = {};  // inputs of recomputed layers
};

// One file system.
struct DiskUse {
  std::vector<std::string> folders;
  std::string kind;
  uint64_t needed_bytes = 0, free_bytes = 0;
  bool fits() const { return needed_bytes <= free_bytes; }
};

// What all ranks of the host keep in files, and the checkpoints that are there at one time.
std::vector<DiskUse> plan_disks(const Model& model, const RunShape& run, const Disks& disks,
                                int ranks_on_host);

}  // namespace hydrofoil::plan
