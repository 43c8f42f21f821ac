// SPDX-License-Identifier: Apache-2.0
// How long calls took on this rank, by operation and size of the message: what DeepSpeed's comms
// logger prints. Off until watch(); then a call costs a lock more, and nothing is synchronised.
//
// Bandwidths of a message of s bytes that took t among n ranks of its group, in 1e9 bits a second:
//   all_gather, reduce_scatter (s: the whole)  alg s/t     bus alg (n-1)/n
//   all_reduce                                 alg 2 s/t   bus alg (n-1)/n
//   all_to_all                                 alg s/t     bus alg (n-1)/n
//   others                                     alg s/t     bus alg
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::comm {

struct TimingRow {
  Operation op = Operation::kBarrier;
  uint64_t bytes = 0;  // of the message
  int ranks = 1;       // of the group
  uint64_t calls = 0;
  double total_ms = 0;
  double mean_ms = 0;           // without the fastest and the slowest tenth
  double alg_gb_per_s() const;  // 1e9 bits, of the mean
  double bus_gb_per_s() const;
};

class Timings {
 public:
  // operations: none for all. verbose: each call is a line on standard error too.
  void watch(const std::vector<Operation>& operations, bool verbose);
  bool watches(Operation op) const {
    return watched_.load(std::memory_order_relaxed) >> static_cast<int>(op) & 1;
  }
  void add(Operation op, uint64_t bytes, int ranks, int64_t nanoseconds);
  std::vector<TimingRow> rows() const;  // by operation, then size

 private:
  using Key = std::tuple<Operation, uint64_t, int>;
  struct Cell {
    uint64_t calls = 0;
    double total_ms = 0;
    std::vector<float> recent_ms;  // a ring of the last kRecent
  };
  static constexpr size_t kRecent = 1000;

  std::atomic<uint32_t> watched_{0};
  std::atomic<bool> verbose_{false};
  mutable std::mutex mutex_;
  std::map<Key, Cell> cells_;
};
static_assert(kOperations <= 32);

// The operation of a name, ours or DeepSpeed's ("all_gather_into_tensor"). Error(kConfig) for a
// name that is neither.
Operation operation_named(std::string_view name);

// A table with a head, one line a row.
std::vector<std::string> timing_lines(const std::vector<TimingRow>& rows);

}  // namespace hydrofoil::comm
