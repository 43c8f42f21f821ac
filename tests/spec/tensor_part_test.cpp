// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/tensor_part.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/spec/units.h"

namespace hydrofoil::spec::tensor_part_test {
namespace {

using testing::ElementsAre;

ModelSpec llama(int64_t heads, int64_t kv_heads) {
  return model_spec_from_hf(
      R"({"model_type":"llama","vocab_size":97,"hidden_size":48,"intermediate_size":35,
          "num_hidden_layers":2,"head_dim":4,"max_position_embeddings":64,
          "tie_word_embeddings":false,"attention_bias":true,"num_attention_heads":)" +
          std::to_string(heads) + R"(,"num_key_value_heads":)" + std::to_string(kv_heads) + "}",
      "test");
}
ModelSpec gpt2() {
  return model_spec_from_hf(
      R"({"model_type":"gpt2","vocab_size":97,"n_embd":36,"n_layer":2,"n_head":6,"n_positions":24})",
      "test");
}
// Fused by key-value head.
ModelSpec falcon() {
  return model_spec_from_hf(
      R"({"model_type":"falcon","vocab_size":97,"hidden_size":48,"num_hidden_layers":2,
          "num_attention_heads":12,"num_kv_heads":3,"new_decoder_architecture":true})",
      "test");
}

uint64_t numel(const std::vector<int64_t>& shape) {
  return static_cast<uint64_t>(
      std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()));
}

TEST(TensorPart, BoxesOfAllRanksHoldEveryElementAndOneOfThemCountsIt) {
  for (const auto& spec : {llama(8, 8), llama(8, 2), llama(6, 3), llama(12, 1), gpt2(), falcon()})
    for (const int ranks : {1, 2, 3, 4, 5, 6})
      for (const int64_t unit_elements : {0, 700}) {
        std::map<std::string, std::vector<int>> counted;
        for (const auto& block : blocks(spec))
          for (const auto& p : block.parameters) counted[p.name].resize(numel(p.shape));
        for (int rank = 0; rank < ranks; ++rank)
          for (const auto& block : tiled_blocks(spec, unit_elements, {}, {rank, ranks}))
            for (const auto& p : block.parameters) {
              uint64_t held = 0;
              auto& elements = counted.at(p.name);
              p.box.for_each_run(0, numel(p.shape), [&](const Box::Run& run) {
                held += run.count;
                for (uint64_t i = 0; i < run.count; ++i)
                  elements.at(run.logical + i) += run.replica ? 0 : 1;
              });
              EXPECT_EQ(held, numel(p.shape)) << p.name;
              EXPECT_EQ(numel(p.whole_shape()), elements.size()) << p.name;
            }
        for (const auto& [name, elements] : counted)
          EXPECT_THAT(elements, testing::Each(1))
              << spec.family << " " << name << ", " << ranks << " ranks";
      }
}

std::vector<int64_t> heads_by_rank(const ModelSpec& spec, int ranks) {
  std::vector<int64_t> heads;
  for (int rank = 0; rank < ranks; ++rank) {
    const auto share = heads_of(spec, {rank, ranks});
    heads.push_back(share.count);
    EXPECT_EQ(share.count % share.kv_count, 0);
  }
  return heads;
}

TEST(TensorPart, HeadsGoWithTheirKeysAsEvenlyAsThoseAllow) {
  EXPECT_THAT(heads_by_rank(llama(6, 6), 4), ElementsAre(2, 2, 1, 1));
  EXPECT_THAT(heads_by_rank(llama(8, 2), 2), ElementsAre(4, 4));
  EXPECT_THAT(heads_by_rank(llama(12, 3), 2), ElementsAre(8, 4));
  // Fewer keys than ranks: of each, some ranks have its heads.
  EXPECT_THAT(heads_by_rank(llama(8, 2), 4), ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(heads_by_rank(llama(8, 2), 3), ElementsAre(2, 2, 4));
  EXPECT_THAT(heads_by_rank(llama(6, 2), 6), ElementsAre(1, 1, 1, 1, 1, 1));
  EXPECT_THAT(heads_by_rank(llama(5, 1), 3), ElementsAre(2, 2, 1));
}

TEST(TensorPart, OfRanksWithTheSameKeysTheFirstCountsThem) {
  std::vector<bool> replicas;
  for (int rank = 0; rank < 5; ++rank)
    replicas.push_back(heads_of(llama(8, 2), {rank, 5}).kv_replica);
  EXPECT_THAT(replicas, ElementsAre(false, true, true, false, true));
}

TEST(TensorPart, MoreRanksThanHeadsAreRefused) {
  EXPECT_EQ(most_tensor_ranks(llama(6, 2)), 6);
  EXPECT_THROW(part_of(llama(6, 2), {0, 7}), Error);
  EXPECT_EQ(part_of(llama(6, 2), {5, 6}).heads, 1);
}

}  // namespace
}  // namespace hydrofoil::spec::tensor_part_test
