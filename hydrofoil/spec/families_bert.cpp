// SPDX-License-Identifier: Apache-2.0
// BERT and RoBERTa as data: keys of config.json, defaults and parameter names are those of
// transformers 5.
#include "hydrofoil/spec/family.h"
#include "hydrofoil/spec/family_rules.h"

namespace hydrofoil::spec {
namespace {

using S = ModelSpec;

bool has_classes(const S& spec) {
  return spec.head == HeadKind::kClasses;
}

Family bert() {
  return {
      .name = "bert",
      .architecture = "BertForMaskedLM",
      .base = {.max_positions = 512,
               .norm_epsilon = 1e-12,
               .activation = Activation::kGelu,
               .attention_bias = true,
               .mlp_bias = true,
               .norm_placement = NormPlacement::kAfter,
               .final_norm = false,
               .embedding_norm = true,
               .head_bias = true,
               .causal = false,
               .token_types = 2},
      .keys = {{"vocab_size", &S::vocab_size, true},
               {"hidden_size", &S::hidden_size, true},
               {"intermediate_size", &S::intermediate_size, true},
               {"num_hidden_layers", &S::layers, true},
               {"num_attention_heads", &S::heads, true},
               {"max_position_embeddings", &S::max_positions},
               {"type_vocab_size", &S::token_types},
               {"layer_norm_eps", &S::norm_epsilon},
               {"hidden_act", &S::activation},
               {"initializer_range", &S::initializer_range},
               {"tie_word_embeddings", &S::tied_head}},
      .refused = {"is_decoder"},
      .layer_prefix = "bert.encoder.layer.",
      .names = {{Part::kTokens, "bert.embeddings.word_embeddings"},
                {Part::kPositions, "bert.embeddings.position_embeddings"},
                {Part::kTokenTypes, "bert.embeddings.token_type_embeddings"},
                {Part::kEmbeddingNorm, "bert.embeddings.LayerNorm"},
                {Part::kQuery, "attention.self.query"},
                {Part::kKey, "attention.self.key"},
                {Part::kValue, "attention.self.value"},
                {Part::kAttentionOutput, "attention.output.dense"},
                {Part::kAttentionNorm, "attention.output.LayerNorm"},
                {Part::kUp, "intermediate.dense"},
                {Part::kDown, "output.dense"},
                {Part::kMlpNorm, "output.LayerNorm"},
                {Part::kHeadDense, "cls.predictions.transform.dense"},
                {Part::kHeadNorm, "cls.predictions.transform.LayerNorm"},
                {Part::kHead, "cls.predictions"}},
      .zeros = {"hidden_dropout_prob", "attention_probs_dropout_prob"},
      .special_names = {{has_classes,
                         {{Part::kHeadDense, "bert.pooler.dense"}, {Part::kHead, "classifier"}}}},
      .read_more = read_bert,
      .write_more = write_bert};
}

Family roberta() {
  Family family = bert();
  family.name = "roberta";
  family.architecture = "RobertaForMaskedLM";
  family.layer_prefix = "roberta.encoder.layer.";
  for (const auto& [part, name] :
       std::map<Part, const char*>{{Part::kTokens, "roberta.embeddings.word_embeddings"},
                                   {Part::kPositions, "roberta.embeddings.position_embeddings"},
                                   {Part::kTokenTypes, "roberta.embeddings.token_type_embeddings"},
                                   {Part::kEmbeddingNorm, "roberta.embeddings.LayerNorm"},
                                   {Part::kHeadDense, "lm_head.dense"},
                                   {Part::kHeadNorm, "lm_head.layer_norm"},
                                   {Part::kHead, "lm_head"}})
    family.names[part] = name;
  family.special_names = {
      {has_classes,
       {{Part::kHeadDense, "classifier.dense"}, {Part::kHead, "classifier.out_proj"}}}};
  family.read_more = read_roberta;
  family.write_more = write_roberta;
  return family;
}

}  // namespace

std::vector<Family> encoder_families() {
  return {bert(), roberta()};
}

}  // namespace hydrofoil::spec
