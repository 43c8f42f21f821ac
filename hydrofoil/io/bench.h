// SPDX-License-Identifier: Apache-2.0
// How fast a folder's disk is, past the page cache, by block size and queue depth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace hydrofoil::io {

struct BenchOptions {
  std::filesystem::path folder;
  uint64_t file_bytes = uint64_t{1} << 30;  // of a scratch file; a multiple of the largest block
  std::vector<size_t> block_bytes = {size_t{128} << 10, size_t{1} << 20, size_t{4} << 20};
  std::vector<int> queue_depths = {1, 4, 16};
  std::vector<int> threads = {1};
  double most_seconds = 0;  // that a case writes, and reads, of the file; 0: all of it
};

struct BenchCase {
  size_t block_bytes = 0;
  int queue_depth = 0, threads = 0;
  double write_gb_per_s = 0, read_gb_per_s = 0;  // 10^9 bytes
};

struct BenchResult {
  bool direct = false;  // false: the file system has no direct I/O, the page cache was measured
  std::string backend;  // "io_uring" or "threads"
  std::vector<BenchCase> cases;
  // The case with the least time to read and write a byte each. With a margin, a later case must be
  // so many times as fast as those before: small differences are noise.
  const BenchCase& best(double margin = 1) const;
};

// Writes, then reads one file for each block size, depth and number of threads; `on_case` is called
// as soon as one is done. Error for a folder that cannot hold the file.
BenchResult bench(const BenchOptions& options,
                  const std::function<void(const BenchCase&)>& on_case = {});

constexpr double kTuneMargin = 1.05;
struct TuneOptions {
  std::filesystem::path folder;
  uint64_t file_bytes = uint64_t{256} << 20;
  double seconds_per_case = 0.2;  // of writing, and of reading
};
// The same where it counts, in 9 cases: first the block size, then the depth with the best of
// these, then the threads. best(kTuneMargin) is the choice.
BenchResult tune(const TuneOptions& options,
                 const std::function<void(const BenchCase&)>& on_case = {});

}  // namespace hydrofoil::io
