// SPDX-License-Identifier: Apache-2.0
// Which keys a query of causal attention sees, and what is added to their scores: sliding windows
// and ALiBi (Press et al. 2021) as masks for scaled dot-product attention.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>
#include <vector>

#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/spec/tensor_part.h"

namespace hydrofoil::models {

// Shared by the layers with the same window; keeps the last mask. Safe to call from any thread.
class Visibility {
 public:
  // window: keys a query sees, itself included; 0: all before it. Of the heads of one rank.
  Visibility(const spec::ModelSpec& spec, int64_t window, spec::TensorPart part = {});

  // For queries and keys at positions [0, length): undefined when plain causal attention is meant,
  // else [length, length] bool (true: seen) or, with ALiBi, [1, heads, length, length] of `like`'s
  // type (-inf: not seen).
  at::Tensor mask(int64_t length, const at::Tensor& like) const;

 private:
  at::Tensor seen(int64_t length, const at::Tensor& like) const;
  at::Tensor bias(int64_t keys, const at::Tensor& like) const;  // [1, heads, 1, keys]

  int64_t window_;
  std::vector<float> slopes_;  // by head; none: no ALiBi
  double bias_scale_ = 1;      // of a bias that joins before scores are scaled
  bool in_bfloat16_ = false;   // slopes and biases are rounded
  mutable std::mutex mutex_;
  mutable at::Tensor last_;
};

}  // namespace hydrofoil::models
