// SPDX-License-Identifier: Apache-2.0
// Where a program leaves its rank when ranks share its matrices (spec/tensor_part.h): each works on
// all tokens, with some heads, rows of the feed-forwards and rows of the vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

#include "hydrofoil/spec/tensor_part.h"

namespace hydrofoil::models {

// All calls are collective, where they have gradients in backward too.
class TensorSeam {
 public:
  virtual ~TensorSeam() = default;
  virtual spec::TensorPart part() const = 0;

  // x before products whose results are parts: x. Of its gradient every rank makes a term; it is
  // their sum.
  virtual at::Tensor fan_out(const at::Tensor& x) const = 0;
  // The sum of what each rank has a term of; its gradient is that of every term.
  virtual at::Tensor sum(const at::Tensor& terms) const = 0;

  // Without gradients. In place, element by element: the sum over all ranks, or the largest.
  virtual void add_up(const at::Tensor& x) const = 0;
  virtual void largest(const at::Tensor& x) const = 0;
  // The columns of all ranks, one after the other: [.., columns of this rank] -> [.., all].
  virtual at::Tensor gather(const at::Tensor& columns, int64_t all) const = 0;

  // Error(kConfig) on all ranks, naming one, where their first x of this name differ. int64.
  virtual void require_same(std::string_view name, const at::Tensor& x) const = 0;
};

}  // namespace hydrofoil::models
