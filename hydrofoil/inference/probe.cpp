// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/probe.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "hydrofoil/core/stopwatch.h"
#include "hydrofoil/inference/aligned.h"

namespace hydrofoil::inference {
namespace {

constexpr size_t kReadBytes = size_t{256} << 20;  // more than caches hold
// A tile of fp32 weights in the second cache, and as many tokens as a step gives a product.
constexpr size_t kProbeColumns = 1024, kProbeTokens = 48;
constexpr int kProbeRounds = 8, kProductsOfARound = 128;

double best_seconds(const std::function<void()>& work) {
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < kProbeRounds; ++round) {
    double seconds = 0;
    {
      const Stopwatch watch(seconds);
      work();
    }
    best = std::min(best, seconds);
  }
  return best;
}

double read_speed(Team& team) {
  const Aligned<uint64_t> memory(kReadBytes / sizeof(uint64_t));
  std::vector<uint64_t> sums(static_cast<size_t>(team.size()));
  // Pages that nobody has written are one page of zeros.
  team.run([&](int me) {
    const auto [begin, end] = team.share(me, memory.size());
    std::fill(memory.data() + begin, memory.data() + end, uint64_t{1});
  });
  const double seconds = best_seconds([&] {
    team.run([&](int me) {
      const auto [begin, end] = team.share(me, memory.size());
      uint64_t sum = 0;
      for (size_t i = begin; i < end; ++i) sum += memory[i];
      sums[static_cast<size_t>(me)] += sum;
    });
  });
  // The sums are looked at, so that they are made.
  return sums.front() > 0 ? static_cast<double>(kReadBytes) / seconds : 0;
}

double multiply_speed(Team& team, kernels::Packing packing) {
  const kernels::PackedShape shape{
      .rows = kernels::kTileRows, .columns = kProbeColumns, .packing = packing};
  const Aligned<std::byte> weights(shape.bytes());
  const std::vector<float> x(kProbeTokens * kProbeColumns, 1.0f);
  kernels::ByteRows bytes(kProbeTokens, kProbeColumns);
  kernels::quantize_rows(x.data(), 0, kProbeTokens, kProbeColumns, bytes);
  const double seconds = best_seconds([&] {
    team.run([&](int) {
      std::vector<float> out(kProbeTokens * kernels::kTileRows);
      for (int i = 0; i < kProductsOfARound; ++i)
        kernels::multiply(shape, weights.data(), 0, {.floats = x.data(), .bytes = &bytes}, 0,
                          kProbeTokens, out.data());
    });
  });
  return 2.0 * kProductsOfARound * team.size() *
         static_cast<double>(kernels::kTileRows * kProbeColumns * kProbeTokens) / seconds;
}

}  // namespace

Speed measure_speed(Team& team, kernels::Packing packing) {
  return {.read_bytes_per_second = read_speed(team),
          .flops_per_second = multiply_speed(team, packing)};
}

}  // namespace hydrofoil::inference
