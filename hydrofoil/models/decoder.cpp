// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/decoder.h"

#include <ATen/TensorOperators.h>

#include "hydrofoil/core/error.h"

namespace hydrofoil::models {
namespace {

const spec::ModelSpec& require_decoder(const spec::ModelSpec& spec) {
  if (!spec.causal)
    throw Error(ExitCode::kConfig,
                "the " + spec.family + " model is an encoder: it does not predict the next token");
  return spec;
}

}  // namespace

Decoder::Decoder(const spec::ModelSpec& spec, const Allocate& allocate,
                 const ProgramOptions& options)
    : Transformer(require_decoder(spec), allocate, options) {
  using spec::Part;
  project_in_ = parts(0).linear(Part::kProjectIn);
  const Parts last = parts(parameters_.size() - 1);
  final_norm_ = last.norm(Part::kFinalNorm);
  project_out_ = last.linear(Part::kProjectOut);
  const bool own = !spec_.tied_head && options_.holds(parameters_.size() - 1);
  head_ = vocabulary_head(own ? last.rows(Part::kHead) : token_embedding_,
                          last.find(Part::kHead, /*bias=*/true));
}

at::Tensor Decoder::embed(const at::Tensor& tokens, const SequencePart& part) const {
  check_positions(spec_, part.whole(tokens.size(1)));
  auto x = embed_tokens(tokens);
  if (spec_.embedding_scale != 1) x = x * spec_.embedding_scale;
  if (project_in_.weight.defined()) x = linear(x, project_in_);
  if (position_embedding_.defined())
    x = x + position_embedding_.narrow(0, spec_.position_offset + part.first, tokens.size(1));
  return embedding_norm_.weight.defined() ? normalize(x, embedding_norm_) : x;
}

at::Tensor Decoder::forward(int block, const at::Tensor& input, const Batch& batch) const {
  return block == 0 ? embed(input, batch.part)
                    : run_layer(layers_.at(block - 1), input, batch.part);
}

at::Tensor Decoder::before_head(const at::Tensor& hidden) const {
  const auto x = final_norm_.weight.defined() ? normalize(hidden, final_norm_) : hidden;
  return project_out_.weight.defined() ? linear(x, project_out_) : x;
}

LossSum Decoder::loss(const at::Tensor& hidden, const Batch& batch) const {
  return linear_cross_entropy(before_head(hidden), head_, batch.labels);
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  return models::logits(before_head(hidden), head_);
}

}  // namespace hydrofoil::models
