// SPDX-License-Identifier: Apache-2.0
// Settings of single families that are not one key of config.json for one field of the spec.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "hydrofoil/spec/fields.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::spec {

void read_gptj(const Fields& fields, ModelSpec& spec);
void write_gptj(const ModelSpec& spec, nlohmann::ordered_json& json);

// use_parallel_residual: two norms in GPT-NeoX, one in StableLM.
void read_gpt_neox(const Fields& fields, ModelSpec& spec);
void read_stablelm(const Fields& fields, ModelSpec& spec);
void write_parallel_residual(const ModelSpec& spec, nlohmann::ordered_json& json);

void read_opt(const Fields& fields, ModelSpec& spec);
void write_opt(const ModelSpec& spec, nlohmann::ordered_json& json);

void read_falcon(const Fields& fields, ModelSpec& spec);
void write_falcon(const ModelSpec& spec, nlohmann::ordered_json& json);

void read_gemma(const Fields& fields, ModelSpec& spec);
void read_gemma2(const Fields& fields, ModelSpec& spec);
void read_gemma3(const Fields& fields, ModelSpec& spec);
void write_gemma2(const ModelSpec& spec, nlohmann::ordered_json& json);

// The head is that of architectures: ..ForMaskedLM or ..ForSequenceClassification.
void read_bert(const Fields& fields, ModelSpec& spec);
void write_bert(const ModelSpec& spec, nlohmann::ordered_json& json);
// Positions begin after pad_token_id, and the table's size counts the rows before.
void read_roberta(const Fields& fields, ModelSpec& spec);
void write_roberta(const ModelSpec& spec, nlohmann::ordered_json& json);

}  // namespace hydrofoil::spec
