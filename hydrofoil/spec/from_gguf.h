// SPDX-License-Identifier: Apache-2.0
// A model and its tokenizer from the metadata of a GGUF file, and where its weights stand there.
//
//   const io::GgufFile file("model.gguf");
//   const ModelSpec spec = model_spec_from_gguf(file.header(), "model.gguf");
//   const text::Tokenizer tokenizer(tokenizer_spec_from_gguf(file.header(), "model.gguf"));
//   for (const GgufWeight& weight : gguf_weights(spec))
//     use(weight.name, file.at(weight.stored_name));    // "model.norm.weight",
//     "output_norm.weight"
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/io/gguf.h"
#include "hydrofoil/spec/model_spec.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::spec {

// Families that are read and written, under the same name: gpt2, llama, qwen2, qwen3.
bool has_gguf_form(const std::string& family);

// Architectures other than these, and settings that would change the results and
// have no place in a spec, are refused by name. Every weight of the spec is there in its shape, and
// no tensor that it has no place for. Error(kConfig) with the key or the tensor.
ModelSpec model_spec_from_gguf(const io::GgufHeader& header, const std::string& where);

// Byte-level BPE (tokenizer.ggml.model "gpt2") with the splitting rules gpt-2, smollm, llama-bpe
// and qwen2, and SentencePiece's unigram ("t5"); others are refused by name. Control tokens become
// special ones; the prefix and suffix are what add_bos_token and add_eos_token ask for.
// Error(kData).
text::TokenizerSpec tokenizer_spec_from_gguf(const io::GgufHeader& header,
                                             const std::string& where);

// How a weight is stored, compared with Hugging Face's.
enum class GgufOrder : uint8_t {
  kSame,
  kTransposed,   // GPT-2's matrices: [out, in] for HF's [in, out]
  kRotaryPairs,  // rows of q and k: the two halves of each head's rotary dims interleaved
};

struct GgufWeight {
  std::string name;            // Hugging Face's
  std::string stored_name;     // in the GGUF file
  std::vector<int64_t> shape;  // Hugging Face's
  GgufOrder order = GgufOrder::kSame;
  int64_t head_dim = 0;    // of kRotaryPairs
  bool fp32_only = false;  // llama.cpp takes vectors and learned positions in no other type
  bool at_an_end = false;  // the embedding or the head

  std::vector<int64_t> stored_shape() const;
};

// All weights of a model, in forward order.
std::vector<GgufWeight> gguf_weights(const ModelSpec& spec);

// Which row of the file is row `row` of the matrix as products have it, [out, in].
size_t stored_row(const GgufWeight& weight, size_t row);

// Elements in Hugging Face's order from the stored one, and back. Spans of the weight's size that
// do not overlap, else std::logic_error.
void to_hf_order(const GgufWeight& weight, std::span<const float> stored, std::span<float> values);
void to_gguf_order(const GgufWeight& weight, std::span<const float> values,
                   std::span<float> stored);

}  // namespace hydrofoil::spec
