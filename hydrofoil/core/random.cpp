// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/core/random.h"

#include <cmath>
#include <numbers>

namespace hydrofoil {
namespace {

constexpr uint32_t kMul0 = 0xD2511F53, kMul1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;

// splitmix64: spreads (seed, use, stream) over the key so that neighbours are unrelated.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

uint64_t word64(const std::array<uint32_t, 4>& block, int i) {
  return (static_cast<uint64_t>(block[2 * i + 1]) << 32) | block[2 * i];
}

double unit(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kMul0) * c[0],
                   p1 = static_cast<uint64_t>(kMul1) * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += kWeyl0, key[1] += kWeyl1;
  }
  return c;
}

Philox::Philox(uint64_t seed, RandomUse use, uint64_t stream) {
  const uint64_t key = mix(seed ^ mix(static_cast<uint64_t>(use)));
  key_ = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
  high_ = {static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
}

std::array<uint32_t, 4> Philox::block(uint64_t position) const {
  return philox4x32(
      {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), high_[0], high_[1]},
      key_);
}

double Philox::uniform(uint64_t position) const {
  return unit(word64(block(position), 0));
}

uint64_t Philox::below(uint64_t bound, uint64_t position) const {
  const auto product = static_cast<unsigned __int128>(word64(block(position), 0)) * bound;
  return static_cast<uint64_t>(product >> 64);
}

double Philox::normal(uint64_t position) const {
  const auto words = block(position);
  const double radius = std::sqrt(-2.0 * std::log1p(-unit(word64(words, 0))));
  return radius * std::cos(2.0 * std::numbers::pi * unit(word64(words, 1)));
}

}  // namespace hydrofoil
