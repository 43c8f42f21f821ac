// SPDX-License-Identifier: Apache-2.0
// What a machine reaches in the work that runs consist of: measured by `hydrofoil plan --tune`,
// kept in a file, and used by plans and by runs.
#pragma once

#include <cstdint>
#include <string>

namespace hydrofoil::plan {

// 0 where the rate is not known: that cause is left out.
constexpr double seconds_at(double amount, double rate) {
  return rate > 0 ? amount / rate : 0;
}

// Of one rank while all ranks of its host are busy. 0: not known, its cause is left out.
struct Machine {
  double flops_per_second = 0;         // layers, forward and backward
  double ends_flops_per_second = 0;    // embedding, head and loss; 0: as layers
  double wire_bytes_per_second = 0;    // received in reductions
  double gather_bytes_per_second = 0;  // received in one-sided reads; 0: as in reductions
  double memory_bytes_per_second = 0;  // read and written by the update
  double read_bytes_per_second = 0, write_bytes_per_second = 0;  // files, one of the two at a time
  double both_bytes_per_second = 0;  // read and written by turns; 0: what these two make
  double call_seconds = 0;           // that a call of a group takes at least, inside a host
  // Between hosts, while all ranks of a host receive; 0: as inside. What a message takes on its
  // way.
  double between_bytes_per_second = 0, between_seconds = 0;
  int ranks_per_host = 0;  // neighbours; 0: all

  // Of files. 0 where their rates are not known.
  double file_seconds(uint64_t read_bytes, uint64_t written_bytes) const;
};

struct Rates {
  Machine machine;
  int ranks = 1, threads = 1;      // of the host; of a rank
  std::string processor, program;  // what was measured, and by which version
  uint64_t rank_memory_bytes = 0;  // that a rank may use; 0: not said
  std::string folder = {};         // of the files; empty: none were measured
  // With which files are fastest there.
  int64_t block_bytes = 0, queue_depth = 0, threads_of_files = 0, piece_elements = 0;
};

std::string to_json(const Rates& rates);  // lines
std::string to_text(const Rates& rates);  // a table, and what to set in a run file
// Error(kConfig), with `where`, for what is none.
Rates rates_from_json(const std::string& text, const std::string& where);

}  // namespace hydrofoil::plan
