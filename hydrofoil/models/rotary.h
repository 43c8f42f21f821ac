// SPDX-License-Identifier: Apache-2.0
// Rotary positions (RoFormer, Su et al. 2021), in Hugging Face's layout: dimension i turns with
// dimension i + D/2 by the angle position / theta^(2i/D).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>
#include <utility>

namespace hydrofoil::models {

// Cosines and sines of the positions used so far; grows on demand. Safe to call from any thread.
class RotaryTable {
 public:
  RotaryTable(int64_t head_dim, double theta) : head_dim_(head_dim), theta_(theta) {}

  // Of positions [begin, begin + count): two tensors [count, 1, D/2], fp32, on the device of
  // `like`.
  std::pair<at::Tensor, at::Tensor> rows(int64_t begin, int64_t count,
                                         const at::Tensor& like) const;

 private:
  int64_t head_dim_;
  double theta_;
  mutable std::mutex mutex_;
  mutable at::Tensor cos_, sin_;  // [positions, 1, D/2]
};

// x [B, T, heads, D]; cos, sin [T, 1, D/2]. Backward turns back by the same angles: nothing of x
// is kept.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

}  // namespace hydrofoil::models
