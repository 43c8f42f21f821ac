// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/fill.h"

#include <stdexcept>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/elementwise_tiers.h"
#include "hydrofoil/kernels/grain.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels {

void scale(std::span<float> data, float factor) {
  const auto kernel = HYDROFOIL_PICK_TIER(scale);
  parallel_for(data.size(), kGrain,
               [&](size_t begin, size_t end) { kernel(data.data() + begin, end - begin, factor); });
}

void add(std::span<float> into, std::span<const float> from) {
  if (into.size() != from.size()) throw std::logic_error("add: spans of different sizes");
  const auto kernel = HYDROFOIL_PICK_TIER(add);
  parallel_for(into.size(), kGrain, [&](size_t begin, size_t end) {
    kernel(into.data() + begin, from.data() + begin, end - begin);
  });
}

}  // namespace hydrofoil::kernels
