// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/family_rules.h"

#include <cmath>
#include <string>

#include "hydrofoil/core/error.h"

namespace hydrofoil::spec {

using OrderedJson = nlohmann::ordered_json;

void read_gptj(const Fields& fields, ModelSpec& spec) {
  if (fields.is_null("rotary_dim")) refuse(fields.where(), "rotary_dim null is not supported");
  const int64_t dim = fields.size({"rotary_dim"}).value_or(64);
  const int64_t head_dim = spec.hidden_size / spec.heads;
  if (dim % 2 || dim > head_dim)
    refuse(fields.where(), "rotary_dim " + std::to_string(dim) +
                               " must be even and not above the size of a head, " +
                               std::to_string(head_dim));
  spec.rotary_dim = dim == head_dim ? 0 : dim;
}

void write_gptj(const ModelSpec& spec, OrderedJson& json) {
  json["rotary_dim"] = spec.turning_dim();
}

void read_gpt_neox(const Fields& fields, ModelSpec& spec) {
  spec.residual =
      fields.flag("use_parallel_residual", true) ? Residual::kParallel : Residual::kSequential;
}

void read_stablelm(const Fields& fields, ModelSpec& spec) {
  spec.residual = fields.flag("use_parallel_residual", false) ? Residual::kParallelOneNorm
                                                              : Residual::kSequential;
}

void write_parallel_residual(const ModelSpec& spec, OrderedJson& json) {
  json["use_parallel_residual"] = spec.residual != Residual::kSequential;
}

void read_opt(const Fields& fields, ModelSpec& spec) {
  if (!fields.flag("layer_norm_elementwise_affine", true))
    fields.refuse_key("layer_norm_elementwise_affine");
  const bool before = fields.flag("do_layer_norm_before", true);
  spec.norm_placement = before ? NormPlacement::kBefore : NormPlacement::kAfter;
  spec.final_norm = before && !fields.flag("_remove_final_layer_norm", false);
  const int64_t token = fields.size({"word_embed_proj_dim"}).value_or(spec.hidden_size);
  spec.embedding_size = token == spec.hidden_size ? 0 : token;
}

void write_opt(const ModelSpec& spec, OrderedJson& json) {
  const bool before = spec.norm_placement == NormPlacement::kBefore;
  json["do_layer_norm_before"] = before;
  json["_remove_final_layer_norm"] = before && !spec.final_norm;
  json["word_embed_proj_dim"] = spec.token_size();
}

void read_falcon(const Fields& fields, ModelSpec& spec) {
  const bool grouped = fields.flag("new_decoder_architecture", false),
             parallel = fields.flag("parallel_attn", true);
  const int64_t norms = fields.size({"num_ln_in_parallel_attn"}, 2).value_or(grouped ? 2 : 1);
  if (grouped && !parallel) fields.refuse_key("parallel_attn");
  if (!grouped && norms == 2) fields.refuse_key("num_ln_in_parallel_attn");
  spec.residual = !parallel    ? Residual::kSequential
                  : norms == 2 ? Residual::kParallel
                               : Residual::kParallelOneNorm;
  if (grouped)
    spec.kv_heads = fields.size({"num_kv_heads", "n_head_kv"}).value_or(spec.heads);
  else
    spec.kv_heads = fields.flag("multi_query", true) ? 1 : spec.heads;
  if (!fields.flag("alibi", false)) return;
  spec.positions = Positions::kAlibi;
  spec.alibi_before_scale = true;
}

void write_falcon(const ModelSpec& spec, OrderedJson& json) {
  const bool multi_query = spec.kv_heads == 1, two_norms = spec.residual == Residual::kParallel;
  const bool grouped = two_norms || (!multi_query && spec.kv_heads != spec.heads);
  json["new_decoder_architecture"] = grouped;
  json["multi_query"] = multi_query;
  json["num_kv_heads"] = spec.kv_heads;
  json["parallel_attn"] = spec.residual != Residual::kSequential;
  json["num_ln_in_parallel_attn"] = nullptr;
  if (grouped) json["num_ln_in_parallel_attn"] = two_norms ? 2 : 1;
  json["alibi"] = spec.positions == Positions::kAlibi;
}

void read_gemma(const Fields& fields, ModelSpec& spec) {
  spec.embedding_scale = std::sqrt(static_cast<double>(spec.hidden_size));
  // The first files say "gelu" and mean the tanh form; a later key overrides.
  const char* key = fields.find("hidden_activation") ? "hidden_activation" : "hidden_act";
  spec.activation = fields.activation(key, Activation::kGeluTanh);
  if (spec.activation == Activation::kGelu) spec.activation = Activation::kGeluTanh;
}

namespace {

void read_gemma_attention(const Fields& fields, ModelSpec& spec, double attention_cap,
                          double logit_cap) {
  spec.embedding_scale = std::sqrt(static_cast<double>(spec.hidden_size));
  const auto cap = [&](const char* key, double fallback) {
    const bool none = fields.is_null(key) || (fallback == 0 && !fields.find(key));
    return none ? 0 : fields.positive(key, fallback);
  };
  spec.attention_softcap = cap("attn_logit_softcapping", attention_cap);
  spec.logit_softcap = cap("final_logit_softcapping", logit_cap);
  spec.attention_scale = std::pow(fields.positive("query_pre_attn_scalar", 256), -0.5);
}

}  // namespace

void read_gemma2(const Fields& fields, ModelSpec& spec) {
  read_gemma_attention(fields, spec, 50, 30);
}

void read_gemma3(const Fields& fields, ModelSpec& spec) {
  read_gemma_attention(fields, spec, 0, 0);
}

void write_gemma2(const ModelSpec& spec, OrderedJson& json) {
  const auto cap = [](double value) { return value == 0 ? OrderedJson() : OrderedJson(value); };
  json["attn_logit_softcapping"] = cap(spec.attention_softcap);
  json["final_logit_softcapping"] = cap(spec.logit_softcap);
  json["query_pre_attn_scalar"] = std::llround(1 / (spec.attention_scale * spec.attention_scale));
}

void read_bert(const Fields& fields, ModelSpec& spec) {
  spec.head = HeadKind::kMaskedToken;
  if (const auto* names = fields.find("architectures"); names && !names->empty()) {
    const std::string name = names->front().is_string() ? names->front().get<std::string>() : "";
    if (name.ends_with("ForSequenceClassification"))
      spec.head = HeadKind::kClasses;
    else if (!name.ends_with("ForMaskedLM") && name != "BertModel" && name != "RobertaModel")
      refuse(fields.where(), "architectures " + names->dump() + " is not supported",
             "supported: ..ForMaskedLM, ..ForSequenceClassification, BertModel, RobertaModel");
  }
  if (!spec.tied_head) fields.refuse_key("tie_word_embeddings");
  if (fields.text("position_embedding_type", "absolute") != "absolute")
    fields.refuse_key("position_embedding_type");
  if (spec.head != HeadKind::kClasses) return;
  const auto* labels = fields.find("id2label");
  spec.classes =
      labels ? static_cast<int64_t>(labels->size()) : fields.size({"num_labels"}).value_or(2);
  if (spec.classes < 2)
    refuse(fields.where(), "one label means regression, which is not supported");
  if (fields.text("problem_type", "single_label_classification") != "single_label_classification")
    fields.refuse_key("problem_type");
}

ModelSpec with_classes(ModelSpec spec, int64_t classes) {
  if (spec.causal)
    throw Error(ExitCode::kConfig,
                "the " + spec.family + " model is a decoder: it names no classes", "model.classes",
                "take an encoder, such as bert or roberta");
  if (classes < 2)
    throw Error(ExitCode::kConfig, "a classifier has at least two classes", "model.classes");
  spec.head = HeadKind::kClasses;
  spec.classes = classes;
  return spec;
}

void write_bert(const ModelSpec& spec, OrderedJson& json) {
  if (spec.head != HeadKind::kClasses) return;
  std::string name = json["architectures"][0];
  name.replace(name.find("ForMaskedLM"), std::string::npos, "ForSequenceClassification");
  json["architectures"] = OrderedJson::array({name});
  for (int64_t i = 0; i < spec.classes; ++i) {
    const std::string number = std::to_string(i), label = "LABEL_" + number;
    json["id2label"][number] = label;
    json["label2id"][label] = i;
  }
}

void read_roberta(const Fields& fields, ModelSpec& spec) {
  read_bert(fields, spec);
  // A token, so 0 is one.
  const auto pad = static_cast<int64_t>(fields.number("pad_token_id", 1));
  if (pad + 1 >= spec.max_positions)
    refuse(fields.where(), "max_position_embeddings " + std::to_string(spec.max_positions) +
                               " leaves no positions after pad_token_id " + std::to_string(pad));
  spec.position_offset = pad + 1;
  spec.max_positions -= spec.position_offset;
  // The head's is gelu whatever the layers' is.
  if (spec.head == HeadKind::kMaskedToken && spec.activation != Activation::kGelu)
    fields.refuse_key("hidden_act");
}

void write_roberta(const ModelSpec& spec, OrderedJson& json) {
  write_bert(spec, json);
  json["pad_token_id"] = spec.position_offset - 1;
  json["max_position_embeddings"] = spec.max_positions + spec.position_offset;
}

}  // namespace hydrofoil::spec
