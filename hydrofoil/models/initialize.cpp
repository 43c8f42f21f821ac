// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/initialize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string_view>

#include "hydrofoil/core/random.h"

namespace hydrofoil::models {
namespace {

// FNV-1a: the stream of a parameter's numbers. Part of what "same seed, same model" means, so it
// must never change.
uint64_t stream_of(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

// The C library's log and sin differ in the last bit between processors; these polynomials, in
// plain IEEE operations, do not. Their errors are below 2e-7.

// sqrt(-2 log u), u the upper 31 bits of the word as a fraction, never 0.
float radius(uint32_t word) {
  const float u = (static_cast<float>(static_cast<int32_t>(word >> 1)) + 0.5f) * 0x1p-31f;
  // u = m * 2^e with m in [sqrt(1/2), sqrt(2)).
  const uint32_t bits = std::bit_cast<uint32_t>(u) - 0x3f3504f3u;
  const auto exponent = static_cast<float>(static_cast<int32_t>(bits) >> 23);
  const float m = std::bit_cast<float>((bits & 0x007fffffu) + 0x3f3504f3u);
  // log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172.
  const float s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  const float log_m =
      s * (2.0f + s2 * (0.666666667f + s2 * (0.4f + s2 * (0.285714286f + s2 * 0.222222222f))));
  return std::sqrt(-2.0f * (exponent * 0.693147181f + log_m));
}

struct Direction {
  float cos, sin;
};
// Of the angle word / 2^32 of a turn: an exact quadrant, and Taylor within +-1/8 of a turn.
Direction direction(uint32_t word) {
  const uint32_t centred = word + 0x20000000u;
  const uint32_t quadrant = centred >> 30;
  const auto offset = static_cast<int32_t>(centred & 0x3fffffffu) - 0x20000000;
  const float t = static_cast<float>(offset) * (6.28318531f * 0x1p-32f), t2 = t * t;
  const float s =
      t * (1.0f + t2 * (-1.66666667e-1f +
                        t2 * (8.33333333e-3f + t2 * (-1.98412698e-4f + t2 * 2.75573192e-6f))));
  const float c =
      1.0f + t2 * (-0.5f + t2 * (4.16666667e-2f + t2 * (-1.38888889e-3f + t2 * 2.48015873e-5f)));
  const bool swap = quadrant & 1, negative_cos = quadrant == 1 || quadrant == 2,
             negative_sin = quadrant >= 2;
  const float cos = swap ? s : c, sin = swap ? c : s;
  return {negative_cos ? -cos : cos, negative_sin ? -sin : sin};
}

constexpr size_t kBlocks = 256;  // Philox blocks a batch, of four elements each

// Elements [4 * first, 4 * (first + blocks)): Box-Muller on the two pairs of words of each block.
void normals(const Philox& random, uint64_t first, size_t blocks,
             std::array<float, 4 * kBlocks>& out) {
  std::array<uint32_t, 2 * kBlocks> lengths, angles;
  for (size_t i = 0; i < blocks; ++i) {
    const auto words = random.block(first + i);
    lengths[2 * i] = words[0], lengths[2 * i + 1] = words[2];
    angles[2 * i] = words[1], angles[2 * i + 1] = words[3];
  }
  for (size_t i = 0; i < 2 * blocks; ++i) {
    const float r = radius(lengths[i]);
    const Direction d = direction(angles[i]);
    out[2 * i] = r * d.cos, out[2 * i + 1] = r * d.sin;
  }
}

}  // namespace

void initialize(const spec::ParameterSpec& parameter, uint64_t seed, uint64_t begin,
                std::span<float> out) {
  if (parameter.init != spec::Init::kNormal)
    return std::fill(out.begin(), out.end(), parameter.init == spec::Init::kOnes ? 1.0f : 0.0f);
  const Philox random(seed, RandomUse::kInit, stream_of(parameter.name));
  const auto deviation = static_cast<float>(parameter.deviation);
  std::array<float, 4 * kBlocks> batch;
  for (size_t done = 0; done < out.size();) {
    const uint64_t block = (begin + done) / 4;
    const size_t skip = (begin + done) % 4;
    const size_t count = std::min(batch.size() - skip, out.size() - done);
    normals(random, block, (skip + count + 3) / 4, batch);
    for (size_t i = 0; i < count; ++i) out[done + i] = deviation * batch[skip + i];
    done += count;
  }
}

}  // namespace hydrofoil::models
