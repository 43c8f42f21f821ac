// SPDX-License-Identifier: Apache-2.0
// Encoders (BERT, RoBERTa) from a ModelSpec, on plain at:: operators: every token sees its whole
// sequence, and the head names masked tokens or the sequence's class.
//
//   models::Encoder model(spec::model_spec_from_hf(json, path));
//   models::initialize(model, /*seed=*/1);
//   models::LossSum loss = forward_loss(model, {tokens, labels, token_types, lengths});
#pragma once

#include <ATen/core/Tensor.h>

#include "hydrofoil/models/cross_entropy.h"
#include "hydrofoil/models/transformer.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::models {

class Encoder final : public Transformer {
 public:
  // Error(kConfig) for what this encoder cannot run.
  explicit Encoder(const spec::ModelSpec& spec, const Allocate& allocate = with_memory,
                   const ProgramOptions& options = {});

  at::Tensor forward(int block, const at::Tensor& input, const Batch& batch) const override;
  LossSum loss(const at::Tensor& hidden, const Batch& batch) const override;
  // Of masked tokens [B, T, V], or of classes [B, classes], from hidden states [B, T, H].
  at::Tensor logits(const at::Tensor& hidden) const override;

 private:
  at::Tensor embed(const at::Tensor& tokens, const Batch& batch) const;
  at::Tensor before_head(const at::Tensor& hidden) const;

  at::Tensor type_embedding_;
  Norm head_norm_;
  Linear head_dense_;
  Head head_;
};

}  // namespace hydrofoil::models
