// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/peak.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/core/stopwatch.h"
#include "hydrofoil/kernels/isa.h"
#include "hydrofoil/kernels/peak_tiers.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace hydrofoil::kernels {
namespace {

constexpr size_t kPeakRounds = 100'000;
constexpr int kTries = 16;  // of about a millisecond: the fastest counts

template <class Run>
double best_flops_per_second(double flops, const Run& run) {
  double least = 1e9;
  for (int i = 0; i < kTries; ++i) {
    double seconds = 0;
    {
      const Stopwatch watch(seconds);
      [[maybe_unused]] volatile float kept = run();
    }
    least = std::min(least, seconds);
  }
  return flops / least;
}

#ifdef __x86_64__
__attribute__((target("avx512f,avx512bf16"))) float bf16_chains(size_t rounds) {
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.5f));
  __m512 chain[kPeakChains];
  for (auto& c : chain) c = _mm512_setzero_ps();
  for (size_t i = 0; i < rounds; ++i)
    for (auto& c : chain) c = _mm512_dpbf16_ps(c, a, a);
  __m512 sum = chain[0];
  for (size_t c = 1; c < kPeakChains; ++c) sum = _mm512_add_ps(sum, chain[c]);
  return _mm512_cvtss_f32(sum);
}
#endif

}  // namespace

double fma_flops_per_second() {
  const auto flops =
      2.0 * static_cast<double>(kPeakRounds * kPeakChains * HYDROFOIL_PICK_TIER(fma_lanes)());
  return best_flops_per_second(flops,
                               [] { return HYDROFOIL_PICK_TIER(fma_chains)(kPeakRounds, 0.5f); });
}

double bf16_flops_per_second() {
#ifdef __x86_64__
  if (active_isa() >= Isa::kAvx512Bf16)
    return best_flops_per_second(64.0 * kPeakRounds * kPeakChains,
                                 [] { return bf16_chains(kPeakRounds); });
#endif
  return 0;
}

double peak_flops_per_second(DType type) {
  const bool pairs = type == DType::kBF16 && active_isa() >= Isa::kAvx512Bf16;
  const auto threads = static_cast<size_t>(compute_threads());
  std::vector<double> flops(threads);
  parallel_for(threads, 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i)
      flops[i] = pairs ? bf16_flops_per_second() : fma_flops_per_second();
  });
  return std::accumulate(flops.begin(), flops.end(), 0.0);
}

}  // namespace hydrofoil::kernels
