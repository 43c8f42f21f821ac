// SPDX-License-Identifier: Apache-2.0
// Decoder-only language models from a ModelSpec, on plain at:: operators: every causal family of
// spec/families_*.cpp, told apart by fields alone.
//
//   models::Decoder model(spec::model_spec_from_hf(json, path));
//   models::initialize(model, /*seed=*/1);
//   models::LossSum loss = forward_loss(model, {tokens, labels});
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "hydrofoil/models/cross_entropy.h"
#include "hydrofoil/models/transformer.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::models {

class Decoder final : public Transformer {
 public:
  // Error(kConfig) for what this decoder cannot run.
  explicit Decoder(const spec::ModelSpec& spec, const Allocate& allocate = with_memory,
                   const ProgramOptions& options = {});

  at::Tensor forward(int block, const at::Tensor& input, const Batch& batch) const override;
  LossSum loss(const at::Tensor& hidden, const Batch& batch) const override;
  at::Tensor logits(const at::Tensor& hidden) const override;

 private:
  at::Tensor embed(const at::Tensor& tokens, const SequencePart& part) const;
  at::Tensor before_head(const at::Tensor& hidden) const;

  Norm final_norm_;                  // weight undefined: none
  Linear project_in_, project_out_;  // where tokens are smaller than hidden states
  Head head_;                        // its rows are the token embedding's when tied
};

}  // namespace hydrofoil::models
