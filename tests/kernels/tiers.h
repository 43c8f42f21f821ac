// SPDX-License-Identifier: Apache-2.0
// Runs a check on every tier this machine has, naming the tier in failures.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels::testing {

template <class Check>
void on_every_tier(const Check& check) {
  for (Isa isa : supported_tiers()) {
    SCOPED_TRACE(std::string(name_of(isa)));
    const ScopedIsa scope(isa);
    check();
  }
}

// Twice the widest pack (64 lanes of a byte) and one.
constexpr size_t kLongestTail = 129;

inline std::vector<float> random_floats(size_t count, uint64_t seed, float scale = 1.0f) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> out(count);
  for (float& v : out) v = normal(engine);
  return out;
}

// One of each kind that arithmetic treats specially, among ordinary ones.
inline std::vector<float> special_floats() {
  using Limits = std::numeric_limits<float>;
  return {0.0f,   -0.0f,  Limits::denorm_min(), -Limits::denorm_min(), Limits::min(),        1.0f,
          -1.0f,  1e-30f, Limits::infinity(),   -Limits::infinity(),   Limits::quiet_NaN(),  3.5f,
          1e-20f, -1e19f, Limits::max(),        -Limits::max(),        Limits::min() / 3.0f, 0.1f};
}

// Bit for bit, but a NaN equals any NaN.
inline void expect_same_bits(std::span<const float> got, std::span<const float> want,
                             const std::string& what = {}) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) && std::isnan(want[i])) continue;
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
        << what << " element " << i << " of " << got.size() << ": " << got[i] << " and " << want[i];
  }
}

// Compute threads for the life of a scope.
class ScopedThreads {
 public:
  explicit ScopedThreads(int threads) : before_(compute_threads()) { set_compute_threads(threads); }
  ~ScopedThreads() { set_compute_threads(before_); }
  ScopedThreads(const ScopedThreads&) = delete;
  ScopedThreads& operator=(const ScopedThreads&) = delete;

 private:
  int before_;
};

}  // namespace hydrofoil::kernels::testing
