// SPDX-License-Identifier: Apache-2.0
// Runs a check on every tier this machine has, naming the tier in failures.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

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

}  // namespace hydrofoil::kernels::testing
