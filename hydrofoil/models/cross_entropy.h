// SPDX-License-Identifier: Apache-2.0
// The head's matrix product and the cross-entropy in one: the logits of a batch never exist at
// once.
#pragma once

#include <ATen/core/Tensor.h>

#include "hydrofoil/models/program.h"
#include "hydrofoil/models/rows.h"
#include "hydrofoil/models/tensor_seam.h"

namespace hydrofoil::models {

struct Head {
  Rows weight = {};                  // [V, H]
  at::Tensor bias = {};              // [V] or undefined
  double softcap = 0;                // logits are c * tanh(logit / c); 0: as they are
  at::ScalarType type = at::kFloat;  // the product is computed in, whatever its factors are
  const TensorSeam* seam = nullptr;  // ranks share the rows; null: they do not
  int64_t vocabulary = 0;            // with a seam: rows of all ranks

  // All rows, which of them is the first here, and how many the rank with the most has.
  int64_t count() const { return seam ? vocabulary : weight.count(); }
  int64_t first() const;
  int64_t most_rows() const;
};

// hidden [.., H] -> [.., V]. Where ranks share the rows, without gradients.
at::Tensor logits(const at::Tensor& hidden, const Head& head);

// -sum over labelled tokens of log softmax(hidden . weight^T + bias)[label].
// hidden [.., H], labels [..] int64 (kIgnoreLabel: no loss). The loss is fp32.
// Works through rows in chunks of at most 32 MB of logits (or 32 rows). When a gradient is wanted,
// the gradients are made on the way (one extra [.., H] and [V, H]); weight is used by operators
// only, never saved. Error(kData) for a label outside [0, V).
//
// A weight in tiles is read tile by tile, forward for the sum of exponentials and backward for the
// gradients, which costs a third more arithmetic; each tile's gradient goes where it belongs, by
// itself, before the next is made. Nothing of the size of the vocabulary exists at any time.
//
// Ranks that share the rows exchange two numbers a row of hidden states and the largest logit, and
// the gradient of the hidden states, never logits. All have the same loss.
LossSum linear_cross_entropy(const at::Tensor& hidden, const Head& head, const at::Tensor& labels);

}  // namespace hydrofoil::models
