// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tanh.h>

#include "hydrofoil/core/error.h"
#include "hydrofoil/models/embedding.h"
#include "hydrofoil/models/fused.h"

namespace hydrofoil::models {
namespace {

// [B, 1, 1, T], true up to each row's length; undefined where nothing is padded.
at::Tensor seen_by_all(const Batch& batch) {
  if (!batch.lengths.defined()) return {};
  const auto position = at::arange(batch.tokens.size(1), batch.lengths.options());
  return (position.unsqueeze(0) < batch.lengths.unsqueeze(1)).unsqueeze(1).unsqueeze(1);
}

const spec::ModelSpec& require_encoder(const spec::ModelSpec& spec, const ProgramOptions& options) {
  if (spec.causal || spec.head == spec::HeadKind::kNextToken)
    throw Error(ExitCode::kConfig, "the " + spec.family + " model is not an encoder");
  if (options.sequence)
    throw Error(ExitCode::kConfig,
                "the " + spec.family + " model is an encoder: its sequences cannot be cut (sp)");
  if (!options.held.empty())
    throw Error(ExitCode::kConfig,
                "the " + spec.family + " model is an encoder: it does not come in stages (pp)");
  return spec;
}

}  // namespace

Encoder::Encoder(const spec::ModelSpec& spec, const Allocate& allocate,
                 const ProgramOptions& options)
    : Transformer(require_encoder(spec, options), allocate, options) {
  using spec::Part;
  type_embedding_ = parts(0).weight(Part::kTokenTypes);
  const Parts last = parts(parameters_.size() - 1);
  head_dense_ = last.linear(Part::kHeadDense);
  head_norm_ = last.norm(Part::kHeadNorm);
  const auto bias = last.find(Part::kHead, /*bias=*/true);
  if (spec_.head == spec::HeadKind::kMaskedToken)
    head_ = vocabulary_head(token_embedding_, bias);
  else
    head_ = {.weight = last.rows(Part::kHead), .bias = bias, .type = products_};
}

at::Tensor Encoder::embed(const at::Tensor& tokens, const Batch& batch) const {
  check_positions(spec_, tokens.size(1));
  const auto types = batch.token_types.defined() ? embedding(type_embedding_, batch.token_types)
                                                 : type_embedding_.narrow(0, 0, 1);
  const auto positions = position_embedding_.narrow(0, spec_.position_offset, tokens.size(1));
  return normalize(embed_tokens(tokens) + types + positions, embedding_norm_);
}

at::Tensor Encoder::forward(int block, const at::Tensor& input, const Batch& batch) const {
  if (block == 0) return embed(input, batch);
  return run_layer(layers_.at(block - 1), input, {}, seen_by_all(batch));
}

at::Tensor Encoder::before_head(const at::Tensor& hidden) const {
  if (spec_.head == spec::HeadKind::kClasses)
    return at::tanh(linear(hidden.select(1, 0), head_dense_));  // the first token's state
  return normalize(activate(linear(hidden, head_dense_), spec_.activation), head_norm_);
}

LossSum Encoder::loss(const at::Tensor& hidden, const Batch& batch) const {
  return linear_cross_entropy(before_head(hidden), head_, batch.labels);
}

at::Tensor Encoder::logits(const at::Tensor& hidden) const {
  return models::logits(before_head(hidden), head_);
}

}  // namespace hydrofoil::models
