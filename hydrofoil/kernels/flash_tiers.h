// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "hydrofoil/kernels/tier.h"

namespace hydrofoil::kernels {

constexpr size_t kFlashQueries = 64, kFlashKeys = 64;  // of a tile

// One key-value head of one sequence and the query heads that share it. Rows of head_dim numbers.
struct FlashGroup {
  size_t queries, keys, head_dim;
  float scale;
  bool causal;
};
struct FlashRows {
  void* data;   // of the first of the heads
  size_t row;   // numbers from one row to the next
  size_t head;  // and from one head's to the next's
};

// Blocks of kFlashQueries of all heads are counted in one row: [first, end) of them.
struct FlashForward {
  FlashGroup group;
  FlashRows q, k, v, out;
  float* log_sums;  // [heads][queries]
  size_t first, end;
};
struct FlashBackward {
  FlashGroup group;
  size_t heads;
  FlashRows q, k, v, out, grad_out, grad_q, grad_k, grad_v;
  const float* log_sums;
};

HYDROFOIL_DECLARE_TIERS_WITH_BF16(
    // Floats of working memory.
    size_t flash_forward_room(const FlashGroup& group);
    size_t flash_backward_room(const FlashGroup& group);
    void flash_forward_f32(const FlashForward& task, float* room);
    void flash_forward_bf16(const FlashForward& task, float* room);
    void flash_backward_f32(const FlashBackward& task, float* room);
    void flash_backward_bf16(const FlashBackward& task, float* room);)

}  // namespace hydrofoil::kernels
