// SPDX-License-Identifier: Apache-2.0
// What the loss on a whole vocabulary and the one on tiles of it have in common.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include "hydrofoil/models/cross_entropy.h"

namespace hydrofoil::models {

// Of rows [first, first + v) of the head's matrix, which `weight` [v, H] is; fp32 where they are
// capped, else of the product's type. `slope`: that of the cap, left undefined where there is none.
at::Tensor capped_logits(const at::Tensor& hidden, const at::Tensor& weight, const Head& head,
                         at::Tensor* slope, int64_t first = 0);

// Labels as columns of logits [n, count] from row `first` of the head's matrix on, and which of
// them lie there: [n, 1] both.
struct Picked {
  Picked(const at::Tensor& labels, int64_t first, int64_t count)
      : column((labels - first).clamp_(0, count - 1)), inside((labels - first).eq(column)) {}
  at::Tensor of(const at::Tensor& logits) const {  // 0 for the others
    return logits.gather(1, column).masked_fill_(inside.logical_not(), 0);
  }
  at::Tensor column, inside;
};

// Softmax of logits [n, v] whose rows may go on on other ranks: fp32 [n, 1] the largest of each
// row; the sum of exponentials below what is `most` of all ranks; in place, what each has of a
// total, less one at the label. On the CPU by kernels/softmax.h, fp32 and bf16; all else is
// widened.
at::Tensor largest_of_rows(const at::Tensor& logits);
at::Tensor totals_of_rows(const at::Tensor& logits, const at::Tensor& most);
at::Tensor softmax_gradient(at::Tensor logits, const at::Tensor& most, const at::Tensor& total,
                            const Picked& label);

// out [v, H] += grad [n, v]^T . hidden [n, H], a slice of the vocabulary at a time: a product of
// its own size would need a second [v, H].
void add_weight_grad(const at::Tensor& grad, const at::Tensor& hidden, const at::Tensor& out);

// Over the ranks that share the vocabulary: the sum of exponentials of every row, and the logit of
// its label, which one of them has. [n, 1] both.
void add_up_rows(const TensorSeam& seam, at::Tensor& total, at::Tensor& picked);

// The sum of losses of hidden [N, H] and labels [N], by the head's tiles; labels are rows of this
// rank, or of others.
at::Tensor tiled_cross_entropy(const at::Tensor& hidden, const Head& head,
                               const at::Tensor& labels);

}  // namespace hydrofoil::models
