// SPDX-License-Identifier: Apache-2.0
// How fast an optimizer steps on this processor, against its memory.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hydrofoil::optim {

struct BenchOptions {
  std::string optimizer = "AdamW";
  std::vector<size_t> elements = {100'000'000};
  std::vector<int> threads = {1};
  int rounds = 9;
};

struct BenchCase {
  std::string_view resting;  // parameters, gradients and states: "fp32", "bf16", "bf16 by chance"
  size_t elements = 0;
  int threads = 0;
  double bytes_per_element = 0;  // that a step reads and writes
  // Medians. The limit moves the same bytes of the same arrays, with next to no arithmetic, in
  // turns with the step. GB = 10^9 bytes.
  double step_seconds = 0, limit_seconds = 0;
  double gb_per_s() const { return rate(step_seconds); }
  double limit_gb_per_s() const { return rate(limit_seconds); }
  double elements_per_s() const { return static_cast<double>(elements) / step_seconds; }

 private:
  double rate(double seconds) const {
    return bytes_per_element * static_cast<double>(elements) / seconds / 1e9;
  }
};

// What the largest case holds: four arrays of fp32 at most.
size_t bench_memory_bytes(const BenchOptions& options);

// Each size with each number of threads and each way to rest; `on_case` is called as soon as one is
// done. Error(kConfig) for an unknown optimizer.
std::vector<BenchCase> bench(const BenchOptions& options,
                             const std::function<void(const BenchCase&)>& on_case = {});

}  // namespace hydrofoil::optim
