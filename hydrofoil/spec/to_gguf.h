// SPDX-License-Identifier: Apache-2.0
// The metadata of a GGUF file for a model and its tokenizer: the inverse of from_gguf.h.
//
//   auto metadata = gguf_metadata(spec, "model");
//   for (auto& entry : gguf_tokenizer_metadata(tokenizer, spec.vocab_size, "model"))
//     metadata.push_back(entry);
//   std::vector<io::GgufTensorSpec> tensors;
//   for (const GgufWeight& w : gguf_weights(spec))
//     tensors.push_back({w.stored_name, GgmlType::kF32, w.stored_shape()});
//   io::GgufWriter out("model.gguf", metadata, tensors);   // then the weights, in to_gguf_order
#pragma once

#include <string>
#include <vector>

#include "hydrofoil/io/gguf.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::spec {

// `where` names the model in errors. Error(kConfig) for a family without a GGUF architecture and
// settings that GGUF has no key for.
std::vector<io::GgufEntry> gguf_metadata(const ModelSpec& spec, const std::string& where);

// Rows of the embedding without a token are written as unused ones, up to `vocab_size`; scores of
// unigram in fp32. Error(kData) for a tokenizer that no splitting rule of GGUF describes, or a
// template of several tokens.
std::vector<io::GgufEntry> gguf_tokenizer_metadata(const text::Tokenizer& source,
                                                   int64_t vocab_size, const std::string& where);

}  // namespace hydrofoil::spec
