// SPDX-License-Identifier: Apache-2.0
// One layer of a transformer: bound to its parameters by what they are for, run as the spec says.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <vector>

#include "hydrofoil/models/attention.h"
#include "hydrofoil/models/layers.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/models/rows.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::models {

std::vector<std::vector<NamedTensor>> make_parameters(const std::vector<spec::BlockSpec>& blocks,
                                                      const Allocate& allocate);

// Error(kConfig) for sizes that no program can run.
void check_sizes(const spec::ModelSpec& spec);
// Error(kData) when a sequence of `end` tokens has no positions.
void check_positions(const spec::ModelSpec& spec, int64_t end);

// The parameters of one block by part; what a block does not have is undefined.
class Parts {
 public:
  // products: the type of all of them.
  Parts(const spec::BlockSpec& block, std::span<const NamedTensor> tensors,
        const spec::ModelSpec& spec, at::ScalarType products)
      : block_(block), tensors_(tensors), spec_(spec), products_(products) {}

  at::Tensor find(spec::Part part, bool bias = false) const;
  at::Tensor weight(spec::Part part) const;  // std::logic_error: not there
  Rows rows(spec::Part part) const;          // the same in tiles
  Linear linear(spec::Part part) const;
  Norm norm(spec::Part part) const;
  Norm norm(spec::Part part, spec::Norm kind) const;
  const spec::ModelSpec& spec() const { return spec_; }

 private:
  const spec::BlockSpec& block_;
  std::span<const NamedTensor> tensors_;
  const spec::ModelSpec& spec_;
  at::ScalarType products_;
};

// What layers share.
struct LayerTables {
  // Of the heads of one rank.
  LayerTables(const spec::ModelSpec& spec, spec::TensorPart part);
  std::unique_ptr<RotaryTable> rotary;           // null: no turned positions
  std::unique_ptr<RotaryTable> windowed_rotary;  // of layers with the window; null: as all
  std::unique_ptr<Visibility> all, windowed;     // of layers without and with the sliding window
};

struct Layer {
  Norm attention_norm, attention_add_norm;  // weights undefined: none
  Norm mlp_norm, mlp_add_norm;
  Attention attention;
  Mlp mlp;
  spec::NormPlacement norm_placement = spec::NormPlacement::kBefore;
  spec::Residual residual = spec::Residual::kSequential;
};

Layer bind_layer(const Parts& parts, int64_t layer, const LayerTables& tables);
// x [B, T, H] -> [B, T, H]; part and seen as in attend.
at::Tensor run_layer(const Layer& layer, const at::Tensor& x, const SequencePart& part,
                     const at::Tensor& seen = {});

}  // namespace hydrofoil::models
