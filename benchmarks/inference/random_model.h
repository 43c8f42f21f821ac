// SPDX-License-Identifier: Apache-2.0
// Models of known shapes with random weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
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
      "num_key_value_heads": 4, "max_position_embeddings": 2048, "tie_word_embeddings": false})"},
    {"mistral", R"({"model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096,
      "intermediate_size": 14336, "num_hidden_layers": 31, "num_attention_heads": 32,
      "num_key_value_heads": 8, "max_position_embeddings": 32768, "tie_word_embeddings": false})"}};

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

// Blocks of Q4_0 as a file would have them: nothing is rounded on the way.
class RandomRows final : public inference::ModelReader {
 public:
  void read(const std::string&, size_t, std::span<float> out) const override {
    std::ranges::fill(out, 1.0f);  // norms
  }
  std::optional<GgmlType> row_type(const std::string&) const override { return GgmlType::kQ4_0; }
  void read_row(const std::string&, size_t row, std::span<std::byte> out) const override {
    constexpr size_t kBlock = 18;
    uint64_t state = row * 0x9e3779b97f4a7c15 + 1;
    for (size_t at = 0; at + kBlock <= out.size(); at += kBlock) {
      const uint16_t scale = 0x1400;  // 2^-10
      std::memcpy(&out[at], &scale, 2);
      for (size_t i = 2; i < kBlock; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        std::memcpy(&out[at + i], &state, 8);
      }
    }
  }
};

inline inference::PackedModel random_model(const std::string& shape, inference::WeightType type) {
  return pack_model(spec::model_spec_from_hf(kShapes.at(shape), shape), RandomReader(), type);
}

}  // namespace hydrofoil::benchmarks
