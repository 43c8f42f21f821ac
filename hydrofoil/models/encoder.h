// SPDX-License-Identifier: Apache-2.0
// Encoders (BERT, RoBERTa) from a ModelSpec, on plain at:: operators: every token sees its whole
// sequence, and the head names masked tokens or the sequence's class.
//
//   models::Encoder model(spec::model_spec_from_hf(json, path));
//   models::initialize(model, model.spec(), /*seed=*/1);
//   models::LossSum loss = forward_loss(model, {tokens, labels, token_types, lengths});
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "hydrofoil/models/decoder.h"
#include "hydrofoil/models/layer.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::models {

class Encoder final : public Program {
 public:
  // Error(kConfig) for what this encoder cannot run.
  explicit Encoder(const spec::ModelSpec& spec, const Allocate& allocate = with_memory);

  const spec::ModelSpec& spec() const { return spec_; }
  int blocks() const override { return static_cast<int>(parameters_.size()); }
  std::span<const NamedTensor> parameters(int block) const override {
    return parameters_.at(block);
  }

  at::Tensor forward(int block, const at::Tensor& input, const Batch& batch) const override;
  LossSum loss(const at::Tensor& hidden, const Batch& batch) const override;
  // Of masked tokens [B, T, V], or of classes [B, classes], from hidden states [B, T, H].
  at::Tensor logits(const at::Tensor& hidden) const override;

 private:
  at::Tensor embed(const at::Tensor& tokens, const Batch& batch) const;
  at::Tensor before_head(const at::Tensor& hidden) const;

  spec::ModelSpec spec_;
  std::vector<std::vector<NamedTensor>> parameters_;  // by block
  LayerTables tables_;
  at::Tensor token_embedding_, position_embedding_, type_embedding_;
  Norm embedding_norm_, head_norm_;
  std::vector<Layer> layers_;
  Linear head_dense_, head_;
};

}  // namespace hydrofoil::models
