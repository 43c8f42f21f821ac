// SPDX-License-Identifier: Apache-2.0
// Models of known shapes with random weights.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "hydrofoil/inference/packed_model.h"

namespace hydrofoil::benchmarks {

inline const std::map<std::string, std::string> kShapes = {
    {"smollm2", R"({"model_type": "llama", "vocab_size": 49152, "hidden_size": 576,
      "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
      "num_key_value_heads": 3, "max_position_embeddings": 8192, "tie_word_embeddings": true})"},
    {"llama1b", R"({"model_type": "llama", "vocab_size": 32000, "hidden_size": 2048,
      "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
      "num_key_value_heads": 4, "max_position_embeddings": 2048, "tie_word_embeddings": false})"}};

class RandomReader final : public inference::ModelReader {
 public:
  void read(const std::string&, size_t begin, std::span<float> out) const override {
    uint32_t state = static_cast<uint32_t>(begin) * 2654435761u + 1;
    for (float& value : out) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-36f;  // up to 1/32
    }
  }
};

inline inference::PackedModel random_model(const std::string& shape, inference::WeightType type) {
  return pack_model(spec::model_spec_from_hf(kShapes.at(shape), shape), RandomReader(), type);
}

}  // namespace hydrofoil::benchmarks
