// SPDX-License-Identifier: Apache-2.0
// What this host offers to the process: cores, memory, limits of its control group.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace hydrofoil::host {

struct Memory {
  uint64_t total_bytes = 0;                    // of the machine
  uint64_t available_bytes = 0;                // the kernel's estimate, now
  std::optional<uint64_t> cgroup_limit_bytes;  // smallest limit on the way up, v2 or v1
  std::optional<uint64_t> cgroup_used_bytes;
  // What a new run may use: the smaller of what is available and what the limit leaves.
  uint64_t usable_bytes() const;
};

int usable_cores();  // affinity and cgroup quota respected, at least 1
std::string cpu_model();
bool multiplies_bf16();  // in hardware: AVX-512 BF16 or AMX
Memory memory();

struct ProcessMemory {
  uint64_t rss_bytes = 0, pss_bytes = 0, peak_rss_bytes = 0;
};
// PSS counts a page shared with peers once in all: the honest figure where peers' slices are
// mapped.
ProcessMemory process_memory();

// Times the kernel killed something of this control group for lack of memory (v2 or v1), if known.
std::optional<uint64_t> oom_kills();

}  // namespace hydrofoil::host
