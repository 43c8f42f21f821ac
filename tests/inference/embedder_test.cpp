// SPDX-License-Identifier: Apache-2.0
// Oracle: transformers, on random tiny BERT and RoBERTa models with padded rows
// (tests/models/golden/encoders.json).
#include "hydrofoil/inference/embedder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "tests/inference/made_reader.h"

namespace hydrofoil::inference::embedder_test {
namespace {

using Json = nlohmann::json;
using Texts = std::vector<std::vector<int32_t>>;

const Json& cases() {
  static const Json all = Json::parse(std::ifstream(GOLDEN_FOLDER "/encoders.json"));
  return all;
}

PackedModel packed(const Json& golden) {
  const auto spec = spec::model_spec_from_hf(golden["config"].dump(), "config");
  return pack_encoder(spec, test::MadeReader(spec));
}

// Without padding.
Texts texts_of(const Json& golden) {
  auto texts = golden["tokens"].get<Texts>();
  for (size_t i = 0; i < texts.size(); ++i) texts[i].resize(golden["lengths"][i].get<size_t>());
  return texts;
}

class EmbeddedFamily : public testing::TestWithParam<size_t> {
 protected:
  const Json& golden_ = cases()[GetParam()];
};
INSTANTIATE_TEST_SUITE_P(All, EmbeddedFamily, testing::Range<size_t>(0, cases().size()),
                         [](const auto& family) {
                           return cases()[family.param]["family"].template get<std::string>() +
                                  "_" + std::to_string(family.index);
                         });

TEST_P(EmbeddedFamily, VectorsMatchTransformers) {
  const PackedModel model = packed(golden_);
  const auto want = golden_["embeddings"].get<std::vector<std::vector<double>>>();
  Team team(2);
  const auto vectors = Embedder(model, team).embed(texts_of(golden_));
  ASSERT_EQ(vectors.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(vectors[i].size(), want[i].size());
    for (size_t d = 0; d < want[i].size(); ++d) EXPECT_NEAR(vectors[i][d], want[i][d], 2e-6);
  }
}

// More texts than a step takes, of all lengths: pages and rows of one step are not another's.
TEST_P(EmbeddedFamily, DoNotDependOnTheOthers) {
  const PackedModel model = packed(golden_);
  const auto text = texts_of(golden_)[0];
  Texts texts;
  for (size_t i = 0; i < 150; ++i)
    texts.emplace_back(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(1 + i % 13));
  Team one(1), three(3);
  Embedder together(model, three), alone(model, one);
  const auto vectors = together.embed(texts);
  ASSERT_EQ(vectors.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i)
    ASSERT_EQ(vectors[i], alone.embed({&texts[i], 1})[0]) << i;
}

// Longer than a chunk of keys (256): the first token's state hangs on the last token.
TEST(Embedder, EveryTokenSeesAllOfALongText) {
  auto config = cases()[0]["config"];
  config["max_position_embeddings"] = 700;
  const PackedModel model = packed({{"config", config}});
  std::vector<int32_t> text;
  for (int32_t i = 0; i < 700; ++i) text.push_back(4 + i * i % 27);
  Team team(2);
  KvCache cache(model.spec, DType::kF32, KvCache::pages_for(700));
  Runner runner(model, cache, team, 700);
  std::vector<Page> pages(KvCache::pages_for(700));
  std::iota(pages.begin(), pages.end(), Page{0});
  const auto first = [&] {
    runner.run({{{.tokens = text, .pages = pages, .logits = Logits::kNone}}});
    return std::vector<float>(runner.hidden(0).begin(), runner.hidden(0).end());
  };
  const auto before = first();
  text.back() = 5;
  EXPECT_NE(first(), before);
}

TEST(Embedder, NamesWhatIsWrong) {
  const PackedModel model = packed(cases()[0]);
  Team team(1);
  Embedder embedder(model, team);
  const auto fails = [&](const Texts& texts, const std::string& why) {
    try {
      embedder.embed(texts);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      EXPECT_THAT(error.line(), testing::HasSubstr(why));
    }
  };
  fails({{}}, "without tokens");
  fails({std::vector<int32_t>(21, 5)}, "21 tokens is longer than the model's 20");
  fails({{5, 31}}, "outside the vocabulary");
  const auto decoder = spec::model_spec_from_hf(
      R"({"model_type": "gpt2", "vocab_size": 97, "n_embd": 36, "n_layer": 2, "n_head": 3,
          "n_positions": 9})",
      "config");
  EXPECT_THROW(pack_encoder(decoder, test::MadeReader(decoder)), Error);
}

}  // namespace
}  // namespace hydrofoil::inference::embedder_test
