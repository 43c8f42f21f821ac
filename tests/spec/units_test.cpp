// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/spec/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

namespace hydrofoil::spec::units_test {
namespace {

ModelSpec llama(bool tied) {
  return model_spec_from_hf(std::string(R"({"model_type":"llama","vocab_size":997,"hidden_size":48,
      "intermediate_size":128,"num_hidden_layers":3,"num_attention_heads":4,
      "num_key_value_heads":2,"tie_word_embeddings":)") +
                                (tied ? "true" : "false") + R"(,"max_position_embeddings":64})",
                            "test");
}

int64_t numel(const ParameterSpec& parameter) {
  int64_t count = 1;
  for (const int64_t extent : parameter.shape) count *= extent;
  return count;
}

TEST(Units, AreBlocksWhereNothingIsSaid) {
  const auto spec = llama(false);
  const auto all = blocks(spec);
  const auto got = units(spec, 0);
  ASSERT_EQ(got.size(), all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(got[i].name, all[i].name);
    EXPECT_EQ(got[i].parameters.size(), all[i].parameters.size());
  }
}

// Stages of a pipeline: together the whole model, and a copy of what both ends need.
TEST(Units, OfHeldBlocksAreThoseOfAllAndACopyOfATiedWeightByItself) {
  for (const bool tied : {true, false})
    for (const int64_t most : {0, 7000}) {
      const auto spec = llama(tied);
      std::map<std::string, int64_t> rows, copies;
      for (const HeldBlocks& held :
           {HeldBlocks{true, true, false, false, false}, {false, false, true, true, true}})
        for (const auto& unit : units(spec, most, held)) {
          EXPECT_TRUE(held[unit.block]) << unit.name;
          EXPECT_FALSE(unit.tied_tile) << unit.name;
          for (const auto& parameter : unit.parameters) {
            rows[parameter.name] += parameter.shape[0];
            if (!unit.has_twin) continue;
            EXPECT_EQ(unit.parameters.size(), 1u);
            copies[parameter.name] += parameter.shape[0];
          }
        }
      const std::string tokens = "model.embed_tokens.weight";
      for (const auto& block : blocks(spec))
        for (const auto& parameter : block.parameters)
          EXPECT_EQ(rows[parameter.name],
                    parameter.shape[0] * (tied && parameter.name == tokens ? 2 : 1))
              << parameter.name;
      EXPECT_EQ(copies[tokens], tied ? 2 * spec.vocab_size : 0);
      EXPECT_EQ(copies.size(), 1u);
      for (const auto& unit : units(spec, most, HeldBlocks(5, true))) EXPECT_FALSE(unit.has_twin);
    }
}

TEST(Units, HoldEveryRowOfEveryParameterOnceAndNoMoreThanTheyMay) {
  for (const bool tied : {false, true})
    for (const int64_t most : {1, 48, 1000, 7000, 20000, 1 << 30}) {
      const auto spec = llama(tied);
      std::map<std::string, int64_t> rows;
      std::set<std::string> names;
      for (const auto& unit : units(spec, most)) {
        EXPECT_TRUE(names.insert(unit.name).second) << unit.name;
        int64_t sum = 0;
        for (const auto& parameter : unit.parameters) {
          const auto& slices = parameter.box.slices;
          EXPECT_EQ(slices.empty() ? 0 : slices[0].begin,
                    parameter.tile ? rows[parameter.name] : 0);
          rows[parameter.name] += parameter.shape[0];
          sum += numel(parameter);
        }
        const bool one_matrix = unit.parameters.size() == 1 && !unit.parameters[0].tile;
        const bool one_row = unit.parameters.size() == 1 && unit.parameters[0].shape[0] == 1;
        EXPECT_TRUE(sum <= most || one_matrix || one_row) << unit.name << " " << most;
        EXPECT_EQ(unit.tied_tile, tied && unit.block == 0 && unit.parameters[0].tile);
      }
      for (const auto& block : blocks(spec))
        for (const auto& parameter : block.parameters) {
          EXPECT_EQ(rows[parameter.name], parameter.shape[0]) << parameter.name;
          rows.erase(parameter.name);
        }
      EXPECT_TRUE(rows.empty());
    }
}

TEST(Units, KeepABiasBesideItsWeight) {
  const auto spec = model_spec_from_hf(
      R"({"model_type":"gpt2","vocab_size":97,"n_embd":64,"n_layer":2,"n_head":4,"n_positions":24})",
      "test");
  std::vector<std::string> names;
  for (const auto& unit : units(spec, 4096))
    if (unit.block == 1) {
      names.push_back(unit.name);
      for (const auto& parameter : unit.parameters)
        if (parameter.bias) {
          EXPECT_EQ((&parameter - 1)->part, parameter.part);
        }
    }
  EXPECT_THAT(names, testing::ElementsAre("layers.0.0", "layers.0.1", "layers.0.2", "layers.0.3",
                                          "layers.0.4", "layers.0.5"));
}

}  // namespace
}  // namespace hydrofoil::spec::units_test
