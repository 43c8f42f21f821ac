// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "hydrofoil/kernels/attention_tiers.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels {

void attend(const AttentionChunk& chunk, size_t rows, DType cache, float* out) {
  (cache == DType::kF32    ? HYDROFOIL_PICK_TIER(attend_f32)
   : cache == DType::kBF16 ? HYDROFOIL_PICK_TIER(attend_bf16)
                           : HYDROFOIL_PICK_TIER(attend_i8))(chunk, rows, out);
}

void merge_partial(float* into, const float* next, size_t head_dim) {
  const size_t largest = head_dim, divisor = head_dim + 1;
  if (next[divisor] == 0) return;
  if (into[divisor] == 0) {
    std::copy(next, next + partial_size(head_dim), into);
    return;
  }
  const float top = std::max(into[largest], next[largest]);
  const float mine = std::exp(into[largest] - top), other = std::exp(next[largest] - top);
  for (size_t i = 0; i < head_dim; ++i) into[i] = into[i] * mine + next[i] * other;
  into[divisor] = into[divisor] * mine + next[divisor] * other;
  into[largest] = top;
}

void finish_partial(const float* partial, size_t head_dim, std::span<float> out) {
  const float divisor = partial[head_dim + 1];
  const float inverse = divisor == 0 ? 0 : 1 / divisor;
  for (size_t i = 0; i < out.size(); ++i) out[i] = partial[i] * inverse;
}

}  // namespace hydrofoil::kernels
