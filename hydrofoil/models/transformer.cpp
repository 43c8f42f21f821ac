// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/models/transformer.h"

#include "hydrofoil/models/embedding.h"

namespace hydrofoil::models {

namespace {

at::ScalarType narrowest_type(const std::vector<std::vector<NamedTensor>>& blocks) {
  auto type = at::kFloat;
  for (const auto& block : blocks)
    for (const auto& [name, tensor] : block)
      if (c10::elementSize(tensor.scalar_type()) < c10::elementSize(type))
        type = tensor.scalar_type();
  return type;
}

}  // namespace

Transformer::Transformer(const spec::ModelSpec& spec, const Allocate& allocate,
                         const ProgramOptions& options)
    : spec_(spec),
      options_(options),
      own_(spec::part_of(spec, options.part())),
      block_specs_(spec::tiled_blocks(spec, options.unit_elements, options.held, options.part())),
      tables_(spec, options.part()) {
  using spec::Part;
  check_sizes(spec_);
  parameters_ = make_parameters(block_specs_, allocate);
  products_ = narrowest_type(parameters_);
  if (options_.holds(0)) {
    token_embedding_ = parts(0).rows(Part::kTokens);
  } else if (spec_.tied_head && options_.holds(parameters_.size() - 1)) {
    token_embedding_ = parts(parameters_.size() - 1).rows(Part::kTokens);
  }
  position_embedding_ = parts(0).find(Part::kPositions);
  embedding_norm_ = parts(0).norm(Part::kEmbeddingNorm);
  for (int64_t i = 0; i < spec_.layers; ++i) {
    layers_.push_back(bind_layer(parts(static_cast<size_t>(i) + 1), i, tables_));
    layers_.back().mlp.rows = options.mlp_rows;
    layers_.back().mlp.tensor = options.tensor;
    layers_.back().attention.seam = options.sequence;
    layers_.back().attention.tensor = options.tensor;
  }
}

at::Tensor Transformer::embed_tokens(const at::Tensor& tokens) const {
  const TensorSeam* const seam = options_.tensor;
  if (!seam) return embedding(token_embedding_, tokens);
  seam->require_same("tokens", tokens);
  return seam->sum(
      embedding_part(token_embedding_, tokens, spec::vocabulary_of(spec_, options_.part()).begin));
}

Head Transformer::vocabulary_head(const Rows& weight, const at::Tensor& bias) const {
  return {.weight = weight,
          .bias = bias,
          .softcap = spec_.logit_softcap,
          .type = products_,
          .seam = options_.tensor,
          .vocabulary = spec_.vocab_size};
}

}  // namespace hydrofoil::models
