// SPDX-License-Identifier: Apache-2.0
// A stream of numbers that is the same in every run, for tests that try many variations.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hydrofoil/core/random.h"

namespace hydrofoil::test {

class Dice {
 public:
  Dice(uint64_t seed, uint64_t stream) : random_(seed, RandomUse::kTest, stream) {}
  size_t below(size_t bound) { return random_.below(bound, position_++); }

 private:
  Philox random_;
  uint64_t position_ = 0;
};

}  // namespace hydrofoil::test
