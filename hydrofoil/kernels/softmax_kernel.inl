// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/power_of_two.h"
#include "hydrofoil/kernels/softmax_tiers.h"
#include "hydrofoil/kernels/wide.h"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

constexpr size_t kRun = 4096;  // numbers that are added up before the sum is

HYDROFOIL_LANES void store_wide(uint16_t* bf16, const Wide& x) {
  for (size_t p = 0; p < kWidePacks; ++p) store(bf16 + p * kF32Lanes, to_bf16(x.v[p]));
}

constexpr float minus_infinity(const float*) {
  return -__builtin_inff();
}
constexpr uint16_t minus_infinity(const uint16_t*) {
  return 0xff80;
}

// The `count` numbers of a tail, and what changes no maximum and no sum of exponentials.
template <class Stored>
struct Tail {
  alignas(64) Stored lanes[kWide];
  Tail(const Stored* x, size_t count) {
    for (Stored& lane : lanes) lane = minus_infinity(x);
    __builtin_memcpy(lanes, x, count * sizeof *x);
  }
};

// visit(the next sixteen).
template <class Stored, class Visit>
HYDROFOIL_LANES void each_of(const Stored* x, size_t count, const Visit& visit) {
  size_t i = 0;
  for (; i + kWide <= count; i += kWide) visit(load_wide(x + i));
  if (i < count) visit(load_wide(Tail(x + i, count - i).lanes));
}

template <class Stored>
HYDROFOIL_LANES float largest(const Stored* x, size_t count) {
  Wide most = wide(-__builtin_inff());
  each_of(x, count, [&](const Wide& v) { most = larger(v, most); });
  return largest_of(most);
}

HYDROFOIL_LANES Wide exponential_below(const Wide& x, float shift) {
  return each_pack([&](size_t p) { return power_of_two((x.v[p] - splat(shift)) * splat(kLog2E)); });
}

template <class Stored>
HYDROFOIL_LANES float total(const Stored* x, size_t count, float shift) {
  double sum = 0;
  for (size_t first = 0; first < count; first += kRun) {
    Wide run = wide(0);
    each_of(x + first, count - first < kRun ? count - first : kRun,
            [&](const Wide& v) { run = run + exponential_below(v, shift); });
    sum += static_cast<double>(sum_of(run));
  }
  return static_cast<float>(sum);
}

template <class Stored>
HYDROFOIL_LANES void shares(Stored* x, size_t count, float shift, float total) {
  const Wide factor = wide(1 / total);
  const auto share = [&](Stored* at) {
    store_wide(at, exponential_below(load_wide(at), shift) * factor);
  };
  size_t i = 0;
  for (; i + kWide <= count; i += kWide) share(x + i);
  if (i == count) return;
  Tail tail(x + i, count - i);
  share(tail.lanes);
  __builtin_memcpy(x + i, tail.lanes, (count - i) * sizeof *x);
}

}  // namespace

float largest_f32(const float* x, size_t count) {
  return largest(x, count);
}
float largest_bf16(const uint16_t* x, size_t count) {
  return largest(x, count);
}
float total_f32(const float* x, size_t count, float shift) {
  return total(x, count, shift);
}
float total_bf16(const uint16_t* x, size_t count, float shift) {
  return total(x, count, shift);
}
void shares_f32(float* x, size_t count, float shift, float total) {
  shares(x, count, shift, total);
}
void shares_bf16(uint16_t* x, size_t count, float shift, float total) {
  shares(x, count, shift, total);
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
