// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/kernels/flash.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/flash_tiers.h"
#include "hydrofoil/kernels/isa.h"

namespace hydrofoil::kernels {
namespace {

struct Release {
  void operator()(float* p) const { std::free(p); }
};
std::unique_ptr<float, Release> room_of(size_t floats) {
  constexpr size_t kLine = 64;
  auto* p = static_cast<float*>(
      std::aligned_alloc(kLine, (floats * sizeof(float) + kLine - 1) / kLine * kLine));
  if (!p) throw std::bad_alloc();
  return std::unique_ptr<float, Release>(p);
}

template <class Data>
FlashRows rows_of(const FlashHeads<Data>& x, DType dtype, size_t batch, size_t head) {
  auto* data = const_cast<std::byte*>(static_cast<const std::byte*>(x.data));
  return {data + (batch * x.batch + head * x.head) * size_of(dtype), x.row, x.head};
}

FlashGroup group_of(const FlashShape& s) {
  return {s.queries, s.keys, s.head_dim, s.scale, s.causal};
}

}  // namespace

void flash_forward(const FlashShape& s, const ConstHeads& q, const ConstHeads& k,
                   const ConstHeads& v, const NewHeads& out, float* log_sums) {
  const auto kernel = s.dtype == DType::kBF16 ? HYDROFOIL_PICK_TIER_WITH_BF16(flash_forward_bf16)
                                              : HYDROFOIL_PICK_TIER_WITH_BF16(flash_forward_f32);
  const FlashGroup group = group_of(s);
  const size_t room = HYDROFOIL_PICK_TIER_WITH_BF16(flash_forward_room)(group);
  const size_t share = s.heads / s.kv_heads, groups = s.batch * s.kv_heads;
  const size_t blocks = share * ((s.queries + kFlashQueries - 1) / kFlashQueries);
  // Each slice of a group's blocks packs the keys and values for itself.
  const size_t wanted = 2 * static_cast<size_t>(compute_threads());
  const size_t slices =
      groups >= wanted ? 1 : std::clamp<size_t>(wanted / std::max<size_t>(groups, 1), 1, blocks);
  parallel_for(groups * slices, 1, [&](size_t begin, size_t end) {
    const auto memory = room_of(room);
    for (size_t i = begin; i < end; ++i) {
      const size_t slice = i % slices, kv = i / slices % s.kv_heads, b = i / slices / s.kv_heads;
      const auto rows = [&](const auto& x, size_t head) { return rows_of(x, s.dtype, b, head); };
      kernel({.group = group,
              .q = rows(q, kv * share),
              .k = rows(k, kv),
              .v = rows(v, kv),
              .out = rows(out, kv * share),
              .log_sums = log_sums + (b * s.heads + kv * share) * s.queries,
              .first = blocks * slice / slices,
              .end = blocks * (slice + 1) / slices},
             memory.get());
    }
  });
}

void flash_backward(const FlashShape& s, const FlashKept& kept, const NewHeads& grad_q,
                    const NewHeads& grad_k, const NewHeads& grad_v) {
  const auto kernel = s.dtype == DType::kBF16 ? HYDROFOIL_PICK_TIER_WITH_BF16(flash_backward_bf16)
                                              : HYDROFOIL_PICK_TIER_WITH_BF16(flash_backward_f32);
  const FlashGroup group = group_of(s);
  const size_t room = HYDROFOIL_PICK_TIER_WITH_BF16(flash_backward_room)(group);
  const size_t share = s.heads / s.kv_heads;
  parallel_for(s.batch * s.kv_heads, 1, [&](size_t begin, size_t end) {
    const auto memory = room_of(room);
    for (size_t i = begin; i < end; ++i) {
      const size_t kv = i % s.kv_heads, b = i / s.kv_heads, head = kv * share;
      const auto rows = [&](const auto& x, size_t h) { return rows_of(x, s.dtype, b, h); };
      kernel({.group = group,
              .heads = share,
              .q = rows(kept.q, head),
              .k = rows(kept.k, kv),
              .v = rows(kept.v, kv),
              .out = rows(kept.out, head),
              .grad_out = rows(kept.grad_out, head),
              .grad_q = rows(grad_q, head),
              .grad_k = rows(grad_k, kv),
              .grad_v = rows(grad_v, kv),
              .log_sums = kept.log_sums + (b * s.heads + head) * s.queries},
             memory.get());
    }
  });
}

}  // namespace hydrofoil::kernels
