// SPDX-License-Identifier: Apache-2.0
// What a model will take, against what it takes once it is there.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/runner.h"
#include "tests/inference/made_reader.h"

namespace hydrofoil::inference::outline_test {
namespace {

using Json = nlohmann::json;

size_t floats(const std::vector<float>& values) {
  return values.size() * sizeof(float);
}
size_t norm(const NormWeights& weights) {
  return floats(weights.weight) + floats(weights.bias);
}

// Every array that a model holds.
size_t allocated(const PackedModel& model) {
  size_t bytes = floats(model.positions) + norm(model.embedding_norm) + norm(model.final_norm) +
                 floats(model.head_bias);
  const auto matrix = [&](const Matrix& m) { bytes += m.packed.size() + floats(m.bias); };
  for (const auto* m : {&model.tokens, &model.project_in, &model.project_out, &model.head})
    matrix(*m);
  for (const auto& layer : model.layers) {
    for (const auto* m : {&layer.qkv, &layer.attention_output, &layer.up, &layer.down}) matrix(*m);
    for (const auto* n : {&layer.attention_norm, &layer.attention_add_norm, &layer.mlp_norm,
                          &layer.mlp_add_norm, &layer.query_norm, &layer.key_norm})
      bytes += norm(*n);
  }
  return bytes;
}

size_t cache_allocated(const spec::ModelSpec& spec, DType type, size_t pages) {
  return KvCache(spec, type, pages).bytes();
}

// All tokens of a text in one step, with logits of the last ones.
void expect_scratch(const PackedModel& outline, const PackedModel& model) {
  constexpr size_t kTokens = 19, kRows = 3;
  for (const int threads : {1, 3}) {
    Team team(threads);
    KvCache cache(model.spec, DType::kF32, 2 * kRows);
    Runner runner(model, cache, team, kTokens);
    const std::vector<int32_t> text(kTokens, 1);
    std::vector<std::vector<Page>> pages;
    std::vector<SequencePart> parts;
    for (size_t i = 0; i < kRows; ++i)
      pages.push_back({static_cast<Page>(2 * i), static_cast<Page>(2 * i + 1)});
    for (size_t i = 0; i < kRows; ++i)
      parts.push_back(
          {.tokens = std::span(text).first(i == 0 ? kTokens - kRows + 1 : 1), .pages = pages[i]});
    runner.run(parts);
    EXPECT_EQ(Runner::scratch_bytes_of(outline, {.tokens = kTokens,
                                                 .rows = kRows,
                                                 .threads = static_cast<size_t>(threads),
                                                 .positions = kTokens - kRows + 1}),
              runner.scratch_bytes());
  }
}

// Of every family in every type: learned, turned and ALiBi positions, tied heads and others, shared
// keys, windows, projections, fused and transposed matrices, odd sizes.
TEST(Outline, PredictsWhatIsAllocated) {
  for (const auto& golden : Json::parse(std::ifstream(GOLDEN_FOLDER "/families.json"))) {
    const auto spec = spec::model_spec_from_hf(golden["config"].dump(), "config");
    const test::MadeReader reader(spec);
    for (const auto& [name, type] : kWeightTypes) {
      SCOPED_TRACE(golden["family"].get<std::string>() + " " + name);
      const PackedModel outline = outline_model(spec, reader, type),
                        model = pack_model(spec, reader, type);
      EXPECT_EQ(outline.weight_bytes().total(), allocated(model));
      EXPECT_EQ(outline.step_bytes(), model.step_bytes());
      EXPECT_EQ(outline.bytes(), 0u);
      expect_scratch(outline, model);
    }
    for (const auto& [name, type] : kCacheTypes)
      EXPECT_EQ(7 * KvCache::page_bytes(spec, type), cache_allocated(spec, type, 7)) << name;
  }
}

// Rows that the file has in blocks, of types that are kept, changed, and mixed in one matrix.
class MixedReader final : public ModelReader {
 public:
  void read(const std::string&, size_t, std::span<float>) const override { ++reads_; }
  std::optional<GgmlType> row_type(const std::string& name) const override {
    if (name.ends_with("norm.weight")) return {};
    if (name.find("v_proj") != name.npos) return GgmlType::kQ6_K;
    if (name.find("down_proj") != name.npos) return GgmlType::kQ8_0;
    if (name.find("o_proj") != name.npos) return GgmlType::kBF16;
    return GgmlType::kQ4_K;
  }
  mutable std::atomic<int> reads_ = 0;
};

TEST(Outline, ReadsTypesAndNoNumbers) {
  const auto spec = spec::model_spec_from_hf(
      R"({"model_type": "llama", "vocab_size": 97, "hidden_size": 256, "intermediate_size": 512,
          "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2,
          "max_position_embeddings": 512, "tie_word_embeddings": false})",
      "config");
  const MixedReader reader;
  const PackedModel outline = outline_model(spec, reader);
  EXPECT_EQ(reader.reads_, 0);
  EXPECT_EQ(outline.weight_bytes().total(), allocated(pack_model(spec, reader)));
  EXPECT_EQ(outline.layers[0].qkv.shape.packing, kernels::Packing::kQ8);
  EXPECT_EQ(outline.layers[0].attention_output.shape.packing, kernels::Packing::kBF16);
  EXPECT_EQ(outline.head.shape.packing, kernels::Packing::kQ4Min);
}

TEST(Outline, RefusesEncoders) {
  spec::ModelSpec spec;
  spec.causal = false;
  EXPECT_THROW(outline_model(spec, MixedReader()), Error);
}

}  // namespace
}  // namespace hydrofoil::inference::outline_test
