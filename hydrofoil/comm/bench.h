// SPDX-License-Identifier: Apache-2.0
// How fast the collectives are, against memcpy with all ranks copying at once, in the same run.
//
// Bus bandwidth (S: full size, t: time, N: ranks): reduce_scatter and all_gather (N-1)/N S/t,
// all_reduce 2 (N-1)/N S/t. Memcpy: S/t of one rank. all_gather and all_reduce work in place.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::comm {

struct BenchOptions {
  size_t smallest_bytes = 8, largest_bytes = size_t{256} << 20;
  size_t factor = 8;               // between two sizes
  double seconds_per_case = 0.25;  // roughly
};

struct BenchCase {
  Operation op = Operation::kAllReduce;
  bool shared_memory = false;  // buffers from alloc(), or private ones
  size_t bytes = 0;            // S, fp32
  // Of the slowest rank, over batches.
  double median_us = 0, p10_us = 0, p90_us = 0, best_us = 0;
  double bus_gb_per_s = 0, memcpy_gb_per_s = 0;  // of the medians; 10^9 bytes
  double best_bus_gb_per_s = 0, best_memcpy_gb_per_s = 0;
  double ratio() const { return bus_gb_per_s / memcpy_gb_per_s; }
  // Of the fastest batches: what is left to say where other programs use the machine.
  double best_ratio() const { return best_bus_gb_per_s / best_memcpy_gb_per_s; }
};

// The sizes of a run: from the smallest, `factor` apart, and always the largest.
std::vector<size_t> bench_sizes(const BenchOptions& options);

// Memory that each rank needs for a size: buffers of the operations, then of memcpy.
constexpr size_t bench_memory_bytes(size_t bytes) {
  return 2 * bytes;
}

// Collective; the same cases on every rank. `on_case` is called on rank 0 as soon as one is done.
std::vector<BenchCase> bench(const Communicator& group, const BenchOptions& options,
                             const std::function<void(const BenchCase&)>& on_case = {});

// One line of JSON (event "case"), or of a table under bench_table_head().
std::string to_json(const BenchCase& result, int ranks);
std::string to_table_line(const BenchCase& result);
std::string bench_table_head();

}  // namespace hydrofoil::comm
