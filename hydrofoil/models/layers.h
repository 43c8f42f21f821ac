// SPDX-License-Identifier: Apache-2.0
// The small pieces every block is made of. Shapes: B batch, T time, H hidden.
#pragma once

#include <ATen/core/Tensor.h>

#include "hydrofoil/models/made.h"
#include "hydrofoil/models/tensor_seam.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::models {

struct Linear {
  at::Tensor weight;                 // [out, in], or [in, out] when transposed
  at::Tensor bias;                   // [out] or undefined
  bool transposed = false;           // GPT-2's Conv1D
  at::ScalarType type = at::kFloat;  // the product is computed in, whatever its factors are
};
at::Tensor linear(const Made& x, const Linear& layer);  // [.., in] -> [.., out], of `type`
// The same where ranks share the columns of the weight, and x: each has a term of the sum, and the
// bias is added once. A null seam: no others.
at::Tensor linear_sum(const Made& x, const Linear& layer, const TensorSeam* seam);

struct Norm {
  at::Tensor weight;  // [H]
  at::Tensor bias;    // [H], undefined for RMS norms
  spec::Norm kind = spec::Norm::kLayerNorm;
  double epsilon = 1e-5;
  bool unit_offset = false;  // scales by 1 + weight
};
// Of the weight's type.
Made normalized(const at::Tensor& x, const Norm& norm);
at::Tensor normalize(const at::Tensor& x, const Norm& norm);

// down(act(up(x))), or down(act(gate(x)) * up(x)) when there is a gate.
struct Mlp {
  Linear gate;     // weight undefined: not gated, or
  Linear gate_up;  // both in one weight, the gate's rows first
  Linear up, down;
  spec::Activation activation = spec::Activation::kGeluTanh;
  int64_t rows = 0;                    // at a time, run again in backward (tiled.h); 0: all
  const TensorSeam* tensor = nullptr;  // null: the matrices are whole
};
at::Tensor feed_forward(const Made& x, const Mlp& mlp);

}  // namespace hydrofoil::models
