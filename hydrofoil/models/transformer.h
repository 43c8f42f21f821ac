// SPDX-License-Identifier: Apache-2.0
// What encoders and decoders have in common: parameters by block, embeddings, layers.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "hydrofoil/models/cross_entropy.h"
#include "hydrofoil/models/layer.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/models/rows.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::models {

class Transformer : public Program {
 public:
  const spec::ModelSpec& spec() const final { return spec_; }
  int blocks() const final { return static_cast<int>(parameters_.size()); }
  std::span<const NamedTensor> parameters(int block) const final { return parameters_.at(block); }
  std::span<const spec::ParameterSpec> parameter_specs(int block) const final {
    return block_specs_.at(block).parameters;
  }

 protected:
  Transformer(const spec::ModelSpec& spec, const Allocate& allocate, const ProgramOptions& options);
  // Valid while the program is not moved.
  Parts parts(size_t block) const {
    return {block_specs_[block], parameters_[block], own_, products_};
  }
  at::Tensor embed_tokens(const at::Tensor& tokens) const;  // [B, T] -> [B, T, token size]
  // Of rows of the vocabulary.
  Head vocabulary_head(const Rows& weight, const at::Tensor& bias) const;

  spec::ModelSpec spec_;
  ProgramOptions options_;
  spec::ModelSpec own_;  // of the part that this rank has
  std::vector<spec::BlockSpec> block_specs_;
  std::vector<std::vector<NamedTensor>> parameters_;  // by block
  at::ScalarType products_;                           // the narrowest type of a parameter
  LayerTables tables_;
  Rows token_embedding_;
  at::Tensor position_embedding_;  // undefined: none
  Norm embedding_norm_;            // weight undefined: none
  std::vector<Layer> layers_;
};

}  // namespace hydrofoil::models
