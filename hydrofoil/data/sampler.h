// SPDX-License-Identifier: Apache-2.0
// The endless shuffled order of training sequences.
//
// A sample is a window of `sequence_length` tokens, each labelled with its next token; windows do
// not overlap. Sample s is window permutation(s mod n) of epoch s / n, n being the windows there
// are: the order depends on (seed, s) only, so neither the number of ranks nor a resume changes it.
// The only state of a run is how many samples it has consumed.
#pragma once

#include <cstdint>
#include <span>

#include "hydrofoil/data/token_file.h"

namespace hydrofoil::data {

struct SamplerOptions {
  int64_t sequence_length = 256;
  uint64_t seed = 1;
};

class Sampler {
 public:
  // Error(kData) when the tokens give no window. The file must outlive the sampler.
  Sampler(const TokenFile& tokens, SamplerOptions options);

  int64_t sequence_length() const { return options_.sequence_length; }
  int64_t samples_per_epoch() const { return windows_; }
  // First token of sample s.
  int64_t window_begin(int64_t sample) const;
  // tokens, labels: sequence_length each.
  void fill(int64_t sample, std::span<int64_t> tokens, std::span<int64_t> labels) const;

 private:
  const TokenFile& tokens_;
  const SamplerOptions options_;
  int64_t windows_ = 0;
};

// A bijection of [0, n) chosen by (seed, epoch), evaluated point by point in constant memory: a
// Feistel network on the next power of four, walked until it lands inside (Black and Rogaway 2002).
int64_t permute(int64_t i, int64_t n, uint64_t seed, uint64_t epoch);

}  // namespace hydrofoil::data
