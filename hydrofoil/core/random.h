// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011).
//
// A number depends on its key and position only, never on who drew before: a result does not change
// with the number of ranks, the order of evaluation or a resume.
#pragma once

#include <array>
#include <cstdint>

namespace hydrofoil {

// What a stream of numbers is for; part of the key, so that streams never meet.
enum class RandomUse : uint32_t {
  kInit = 1,
  kShuffle = 2,
  kDropout = 3,
  kSample = 4,
  kTest = 5,
  kMask = 6,
  kRounding = 7
};

// The generator itself: ten rounds on a counter under a key.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

class Philox {
 public:
  // seed: the run's; use and stream (a tensor, an epoch, a layer) tell the sequences apart.
  Philox(uint64_t seed, RandomUse use, uint64_t stream = 0);

  // Four independent 32-bit words at a position.
  std::array<uint32_t, 4> block(uint64_t position) const;

  // Uniform in [0, 1) with 53 bits.
  double uniform(uint64_t position) const;
  // Uniform in [0, bound), bound > 0, without modulo bias beyond 2^-64 * bound.
  uint64_t below(uint64_t bound, uint64_t position) const;
  // Standard normal (Box-Muller on one block).
  double normal(uint64_t position) const;

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 2> high_;
};

}  // namespace hydrofoil
