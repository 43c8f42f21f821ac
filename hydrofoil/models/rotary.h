// SPDX-License-Identifier: Apache-2.0
// Rotary positions (RoFormer, Su et al. 2021), as Hugging Face lays them out: of the dimensions D
// that turn, i turns with i + D/2 by the angle position / theta^(2i/D); or, interleaved, 2i with
// 2i + 1. Scaled kinds (linear, dynamic, llama3, yarn) change the frequencies by transformers'
// formulas.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>
#include <utility>

#include "hydrofoil/models/sequence_seam.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::models {

// Cosines and sines of the positions used so far; grows on demand. Safe to call from any thread.
class RotaryTable {
 public:
  explicit RotaryTable(const spec::ModelSpec& spec);
  // Of another base, unscaled.
  RotaryTable(const spec::ModelSpec& spec, double theta);

  // Of `count` positions of that part: two tensors [count, 1, D/2], fp32, on the device of `like`.
  // Dynamic scaling: as the length of whole sequences asks for.
  std::pair<at::Tensor, at::Tensor> rows(const SequencePart& part, int64_t count,
                                         const at::Tensor& like) const;

 private:
  at::Tensor frequencies(int64_t length, const at::Tensor& like) const;  // [D/2]

  int64_t dim_;
  double theta_;
  int64_t positions_;  // of the unscaled model
  spec::RopeScaling scaling_;
  mutable std::mutex mutex_;
  mutable at::Tensor cos_, sin_;  // [positions, 1, D/2]
};

// x [B, T, heads, head_dim]; cos, sin [T, 1, D/2]; dimensions from D on stay as they are. Backward
// turns back by the same angles: nothing of x is kept.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  bool interleaved = false);

}  // namespace hydrofoil::models
