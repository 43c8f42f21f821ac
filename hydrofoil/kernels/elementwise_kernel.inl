// SPDX-License-Identifier: Apache-2.0
// One pass, one operation an element: bound by memory on every tier.
#include "hydrofoil/kernels/elementwise_tiers.h"
#include "hydrofoil/kernels/random_bits.inl"

namespace hydrofoil::kernels::HYDROFOIL_TIER {
namespace {

// to[i] = apply(from[i]) for packs of In and Out with equally many lanes.
template <class In, class Out, class From, class To, class Apply>
HYDROFOIL_LANES void map(const From* from, To* to, size_t count, const Apply& apply) {
  constexpr size_t kLanes = sizeof(In) / sizeof(From);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store<Out>(to + i, apply(load<In>(from + i)));
  if (const size_t rest = count - i)
    store_part<Out>(to + i, apply(load_part<In>(from + i, rest * sizeof(From))), rest * sizeof(To));
}

}  // namespace

void to_bf16_by_chance(const float* from, uint16_t* to, size_t count, RandomKey key,
                       uint32_t first) {
  map<F32, U16>(from, to, count, [&](F32 v) {
    const U16 rounded = round_by_chance(v, first, key);
    first += kF32Lanes;
    return rounded;
  });
}
void to_bf16(const float* from, uint16_t* to, size_t count) {
  map<F32, U16>(from, to, count, [](F32 v) { return to_bf16(v); });
}
void to_f16(const float* from, uint16_t* to, size_t count) {
  map<F32, U16>(from, to, count, [](F32 v) { return to_f16(v); });
}
void from_bf16(const uint16_t* from, float* to, size_t count) {
  map<U16, F32>(from, to, count, [](U16 v) { return from_bf16(v); });
}
void from_f16(const uint16_t* from, float* to, size_t count) {
  map<U16, F32>(from, to, count, [](U16 v) { return from_f16(v); });
}

void scale(float* data, size_t count, float factor) {
  map<F32, F32>(data, data, count, [f = splat(factor)](F32 v) { return v * f; });
}

void add(float* into, const float* from, size_t count) {
  size_t i = 0;
  for (; i + kF32Lanes <= count; i += kF32Lanes)
    store(into + i, load<F32>(into + i) + load<F32>(from + i));
  if (const size_t rest = (count - i) * sizeof(float))
    store_part(into + i, load_part<F32>(into + i, rest) + load_part<F32>(from + i, rest), rest);
}

}  // namespace hydrofoil::kernels::HYDROFOIL_TIER
