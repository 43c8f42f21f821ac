// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/sampler.h"

#include <bit>
#include <stdexcept>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/random.h"

namespace hydrofoil::data {
namespace {

constexpr uint64_t kRounds = 6;

}  // namespace

int64_t permute(int64_t i, int64_t n, uint64_t seed, uint64_t epoch) {
  if (i < 0 || i >= n) throw std::logic_error("permute: index out of range");
  const Philox random(seed, RandomUse::kShuffle, epoch);
  const int half = (static_cast<int>(std::bit_width(static_cast<uint64_t>(n - 1))) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  auto x = static_cast<uint64_t>(i);
  do {  // less than four turns on average: the domain is below 4 n
    uint64_t left = x >> half, right = x & mask;
    for (uint64_t round = 0; round < kRounds; ++round) {
      const uint64_t mixed = left ^ (random.block((round << 56) | right)[0] & mask);
      left = right;
      right = mixed;
    }
    x = (left << half) | right;
  } while (x >= static_cast<uint64_t>(n));
  return static_cast<int64_t>(x);
}

Sampler::Sampler(const TokenFile& tokens, SamplerOptions options)
    : tokens_(tokens), options_(options) {
  windows_ = (tokens.size() - 1) / options.sequence_length;
  if (windows_ < 1)
    throw Error(ExitCode::kData, std::to_string(tokens.size()) +
                                     " tokens are fewer than one sequence of " +
                                     std::to_string(options.sequence_length) + " and its labels");
}

int64_t Sampler::window_begin(int64_t sample) const {
  const int64_t epoch = sample / windows_;
  return permute(sample % windows_, windows_, options_.seed, static_cast<uint64_t>(epoch)) *
         options_.sequence_length;
}

void Sampler::fill(int64_t sample, std::span<int64_t> tokens, std::span<int64_t> labels) const {
  const int64_t begin = window_begin(sample);
  for (int64_t i = 0; i < options_.sequence_length; ++i) {
    tokens[static_cast<size_t>(i)] = tokens_.at(begin + i);
    labels[static_cast<size_t>(i)] = tokens_.at(begin + i + 1);
  }
}

}  // namespace hydrofoil::data
