// SPDX-License-Identifier: Apache-2.0
// A model's weights as the runner reads them: matrices packed (kernels/packed_matrix.h),
// everything else fp32. Nothing here knows of Hugging Face's layouts any more.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hydrofoil/inference/aligned.h"
#include "hydrofoil/inference/model_reader.h"
#include "hydrofoil/inference/residency.h"
#include "hydrofoil/inference/weight_source.h"
#include "hydrofoil/kernels/packed_matrix.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::inference {

// [rows, columns], with zero rows up to whole tiles.
struct Matrix {
  kernels::PackedShape shape;
  Aligned<std::byte> packed = {};  // nothing in an outline, or where its layer is streamed
  size_t place = 0;                // then: in what the layer's source has
  std::vector<float> bias = {};    // of all tiles' rows, or empty

  explicit operator bool() const { return shape.rows > 0; }
  size_t padded_rows() const { return shape.tiles() * kernels::kTileRows; }
  size_t stream_bytes() const;                            // whole pages
  void read_row(size_t row, std::span<float> out) const;  // [columns]
};

struct NormWeights {
  spec::Norm kind = spec::Norm::kRmsNorm;
  std::vector<float> weight = {}, bias = {};

  explicit operator bool() const { return !weight.empty(); }
  // out may be x.
  void apply(std::span<const float> x, double epsilon, float* out) const;
};

struct LayerWeights {
  NormWeights attention_norm, attention_add_norm, mlp_norm, mlp_add_norm, query_norm, key_norm;
  Matrix qkv = {};  // all queries' rows, then keys, then values
  Matrix attention_output = {};
  Matrix up = {};  // gated: 32 rows of the gate, the same 32 of up, and so on
  Matrix down = {};

  std::array<Matrix*, 4> matrices() { return {&qkv, &attention_output, &up, &down}; }
  std::array<const Matrix*, 4> matrices() const { return {&qkv, &attention_output, &up, &down}; }
  size_t matrix_bytes() const;
  size_t stream_bytes() const;
};

// As they lie in memory.
struct WeightBytes {
  size_t embedding = 0;  // the head, too, where they are tied
  size_t attention = 0, feed_forward = 0, head = 0;
  size_t rest = 0;  // norms, biases, positions, projections of narrow embeddings

  size_t total() const { return embedding + attention + feed_forward + head + rest; }
};

struct PackedModel {
  spec::ModelSpec spec;
  Matrix tokens = {};  // the embedding; the head too where they are tied
  std::vector<float> positions = {};
  NormWeights embedding_norm = {}, final_norm = {};
  Matrix project_in = {}, project_out = {};
  std::vector<LayerWeights> layers = {};
  Matrix head = {};                   // empty where it is tied
  std::vector<float> head_bias = {};  // of a tied head

  // Of the layers that are not in memory; null where all are.
  Residency residency = {};
  std::unique_ptr<WeightSource> source = {};

  size_t packing_bytes = 0;  // that packing took beside it, at most at a time

  const Matrix& head_matrix() const { return head ? head : tokens; }
  size_t bytes() const;  // of all matrices
  WeightBytes weight_bytes() const;
  size_t step_bytes() const;  // of them, that every step reads, whatever its tokens
  // Multiply-adds of matrices for a token: of all before the head, and of that.
  double body_products() const;
  double head_products() const;
};

// How matrices are kept. kAsStored: in the type they come in where there is a packing for it, Q4_K
// as Q4_1; other block formats as Q8, everything else as fp32. Others: all of them in that type,
// but for those whose columns are no whole blocks, which stay fp32.
enum class WeightType : uint8_t { kAsStored, kF32, kBF16, kQ8, kQ4, kQ4Min };
// By the names that people give them.
inline const std::map<std::string, WeightType> kWeightTypes = {
    {"auto", WeightType::kAsStored}, {"f32", WeightType::kF32}, {"bf16", WeightType::kBF16},
    {"q8_0", WeightType::kQ8},       {"int8", WeightType::kQ8}, {"q4_0", WeightType::kQ4},
    {"q4_1", WeightType::kQ4Min}};

// Where layers that do not fit into memory lie: in a file of this folder's disk, which goes with
// the model.
struct Streaming {
  Residency residency = {};  // of the outline; as it is, everything is resident
  std::filesystem::path folder = {};
};

// Error(kConfig) for an encoder.
PackedModel pack_model(const spec::ModelSpec& spec, const ModelReader& reader,
                       WeightType type = WeightType::kAsStored, const Streaming& streaming = {});
// The layers of an encoder, without its head, for texts of token type 0. Error(kConfig) for a
// decoder.
PackedModel pack_encoder(const spec::ModelSpec& spec, const ModelReader& reader,
                         WeightType type = WeightType::kAsStored);
// The same model with everything but its numbers: matrices have shapes and no memory, the rest is
// zeros. Only the types of the reader's rows are asked for.
PackedModel outline_model(const spec::ModelSpec& spec, const ModelReader& reader,
                          WeightType type = WeightType::kAsStored);

}  // namespace hydrofoil::inference
