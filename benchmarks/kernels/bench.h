// SPDX-License-Identifier: Apache-2.0
// Times kernels against the machine's own memory limits. All cases of a program run interleaved,
// round after round, so that a noisy neighbour hits the limit and the kernel alike; medians are
// compared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace hydrofoil::bench {

struct Options {
  size_t elements = 0;
  int threads = 1, rounds = 15;
  bool json = false;
};
// --elements N --threads N --rounds N --json; anything else prints the usage and exits with 2.
Options parse(int argc, char** argv, size_t default_elements);

struct Case {
  std::string name;
  double bytes;  // that must cross the memory bus
  double items;  // elements, for a rate that people compare
  std::string
      limit;  // the name of the case that this one is measured against; empty: it is a limit
  std::function<void()> run;
};

// One line a case on standard output: name, GB/s (median, p10, p90), million elements a second,
// share of the limit.
void run(const Options& options, const std::vector<Case>& cases);

// Page-aligned fp32 numbers around 0.01, touched by the threads that will use them.
class Floats {
 public:
  explicit Floats(size_t count);
  std::span<float> span() const { return {data_.get(), count_}; }
  float* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* p) const;
  };
  size_t count_;
  std::unique_ptr<float[], Free> data_;
};

// The limits: what plain loops reach. Each is threaded.
void copy_limit(std::span<float> to, std::span<const float> from);  // memcpy: 8 bytes
float read_limit(std::span<const float> from);                      // a sum: 4 bytes an element
void update_limit(std::span<float> a, std::span<float> b, std::span<float> c,
                  std::span<const float> d);  // a, b, c += d, as Adam does: 28 bytes an element

}  // namespace hydrofoil::bench
