// SPDX-License-Identifier: Apache-2.0
// Oracle: transformers, on random tiny models of every family (tests/models/golden/families.json).
// A token's logits depend on its own sequence only, to the last bit.
#include "hydrofoil/inference/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "hydrofoil/core/error.h"
#include "hydrofoil/kernels/dequantize.h"
#include "hydrofoil/kernels/quantize.h"
#include "tests/inference/made_reader.h"

namespace hydrofoil::inference::runner_test {
namespace {

using Json = nlohmann::json;

const Json& cases() {
  static const Json all = Json::parse(std::ifstream(GOLDEN_FOLDER "/families.json"));
  return all;
}

PackedModel packed(const Json& golden, WeightType type = WeightType::kF32) {
  const auto spec = spec::model_spec_from_hf(golden["config"].dump(), "config");
  return pack_model(spec, test::MadeReader(spec), type);
}

std::vector<Page> pages_from(size_t first, size_t count) {
  std::vector<Page> pages(count);
  std::iota(pages.begin(), pages.end(), static_cast<Page>(first));
  return pages;
}

class Family : public testing::TestWithParam<size_t> {
 protected:
  const Json& golden_ = cases()[GetParam()];
};
INSTANTIATE_TEST_SUITE_P(All, Family, testing::Range<size_t>(0, cases().size()),
                         [](const auto& family) {
                           return cases()[family.param]["family"].template get<std::string>() +
                                  "_" + std::to_string(family.index);
                         });

TEST_P(Family, LogitsMatchTransformers) {
  const PackedModel model = packed(golden_);
  const auto batch = golden_["tokens"].get<std::vector<std::vector<int32_t>>>();
  const auto want = golden_["logits"].get<std::vector<std::vector<double>>>();
  Team team(2);
  KvCache cache(model.spec, DType::kF32, 64);
  std::vector<std::vector<Page>> pages;
  std::vector<SequencePart> parts;
  for (size_t i = 0; i < batch.size(); ++i) pages.push_back(pages_from(i * 8, 8));
  for (size_t i = 0; i < batch.size(); ++i)
    parts.push_back({.tokens = batch[i], .pages = pages[i]});
  Runner runner(model, cache, team, 256);
  runner.run(parts);
  ASSERT_EQ(runner.logit_rows(), want.size());
  for (size_t row = 0; row < want.size(); ++row) {
    double largest = 0, error = 0;
    for (size_t v = 0; v < want[row].size(); ++v) {
      largest = std::max(largest, std::abs(want[row][v]));
      error = std::max(error, std::abs(runner.logits(row)[v] - want[row][v]));
    }
    EXPECT_LT(error, 1e-5 * largest);
  }
}

// Every logit of a text, however it comes: cut into steps of so many tokens.
std::vector<std::vector<float>> all_logits(const PackedModel& model, Team& team, DType cache_type,
                                           const std::vector<int32_t>& text, size_t step) {
  KvCache cache(model.spec, cache_type, 64);
  Runner runner(model, cache, team, 64);
  const auto pages = pages_from(3, 61);
  std::vector<std::vector<float>> logits;
  for (size_t done = 0; done < text.size(); done += step) {
    const size_t count = std::min(step, text.size() - done);
    const SequencePart part{.tokens = std::span(text).subspan(done, count),
                            .position = static_cast<int64_t>(done),
                            .pages = pages,
                            .logits = Logits::kAll};
    runner.run({&part, 1});
    for (size_t row = 0; row < runner.logit_rows(); ++row)
      logits.emplace_back(runner.logits(row).begin(), runner.logits(row).end());
  }
  return logits;
}

std::vector<int32_t> made_text(const PackedModel& model, size_t count, size_t seed = 7) {
  std::vector<int32_t> text;
  for (size_t i = 0; i < count; ++i)
    text.push_back(static_cast<int32_t>((i * i * 31 + seed * i + 3) %
                                        static_cast<size_t>(model.spec.vocab_size)));
  return text;
}

// A Llama of blocks of 32 columns, so that every type of weights can hold it.
PackedModel llama(WeightType type) {
  const auto spec = spec::model_spec_from_hf(
      R"({"model_type": "llama", "vocab_size": 97, "hidden_size": 96, "intermediate_size": 160,
          "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
          "max_position_embeddings": 512, "tie_word_embeddings": true})",
      "config");
  return pack_model(spec, test::MadeReader(spec), type);
}

TEST(Runner, ResultsDoNotDependOnCutsOrThreads) {
  const auto check = [](WeightType type, DType cache) {
    const PackedModel model = llama(type);
    const auto text = made_text(model, 270);  // more keys than a chunk has
    Team one(1), three(3);
    const auto want = all_logits(model, one, cache, text, 1);
    EXPECT_EQ(all_logits(model, one, cache, text, 7), want);
    EXPECT_EQ(all_logits(model, three, cache, text, 1), want);
    EXPECT_EQ(all_logits(model, three, cache, text, 64), want);
  };
  for (const auto type : {WeightType::kF32, WeightType::kBF16, WeightType::kQ8, WeightType::kQ4Min})
    check(type, DType::kF32);
  check(WeightType::kQ4, DType::kBF16);
  check(WeightType::kF32, DType::kI8);
}

TEST(Runner, SequencesOfAStepDoNotTouchEachOther) {
  const PackedModel model = llama(WeightType::kQ4);
  Team team(2);
  KvCache cache(model.spec, DType::kF32, 64);
  Runner runner(model, cache, team, 64);
  const auto a = made_text(model, 33, 5), b = made_text(model, 29, 11);
  const auto want_a = all_logits(model, team, DType::kF32, a, 64),
             want_b = all_logits(model, team, DType::kF32, b, 64);
  const auto pages_a = pages_from(9, 3), pages_b = pages_from(0, 3);
  // a is ahead, and goes on token by token while b's prompt comes in pieces.
  SequencePart prompt{.tokens = std::span(a).first(30), .pages = pages_a};
  runner.run({&prompt, 1});
  for (size_t i = 0; i < 3; ++i) {
    const size_t begin = i * 10, count = std::min<size_t>(10, b.size() - begin);
    const SequencePart parts[] = {{.tokens = std::span(b).subspan(begin, count),
                                   .position = static_cast<int64_t>(begin),
                                   .pages = pages_b},
                                  {.tokens = std::span(a).subspan(30 + i, 1),
                                   .position = static_cast<int64_t>(30 + i),
                                   .pages = pages_a}};
    runner.run(parts);
    ASSERT_EQ(runner.logit_rows(), 2u);
    EXPECT_THAT(runner.logits(0), testing::ElementsAreArray(want_b[begin + count - 1]));
    EXPECT_THAT(runner.logits(1), testing::ElementsAreArray(want_a[30 + i]));
  }
}

// Random weights are the hardest to round. What products of codes are is tested with the kernels:
// this finds a scale, a minimum or a row in the wrong place.
TEST(Runner, NarrowWeightsStayNear) {
  Team team(1);
  const auto exact = llama(WeightType::kF32);
  const auto text = made_text(exact, 40);
  const auto want = all_logits(exact, team, DType::kF32, text, 40);
  const auto distance = [&](WeightType type, DType cache) {
    const auto got = all_logits(llama(type), team, cache, text, 40);
    double error = 0, spread = 0;
    for (size_t i = 0; i < want.size(); ++i)
      for (size_t v = 0; v < want[i].size(); ++v) {
        error += std::pow(got[i][v] - want[i][v], 2);
        spread += std::pow(want[i][v], 2);
      }
    return std::sqrt(error / spread);
  };
  EXPECT_LT(distance(WeightType::kF32, DType::kBF16), 0.02);
  EXPECT_LT(distance(WeightType::kF32, DType::kI8), 0.04);
  EXPECT_LT(distance(WeightType::kBF16, DType::kF32), 0.02);
  EXPECT_LT(distance(WeightType::kQ8, DType::kF32), 0.06);
  EXPECT_LT(distance(WeightType::kQ4Min, DType::kF32), 0.5);
  EXPECT_LT(distance(WeightType::kQ4, DType::kF32), 0.5);
}

TEST(Runner, RefusesWhatTheModelDoesNotKnow) {
  const PackedModel model = llama(WeightType::kF32);
  Team team(1);
  KvCache cache(model.spec, DType::kF32, 33);
  Runner runner(model, cache, team, 528);
  const auto pages = pages_from(0, 33);
  const auto refusal = [&](std::vector<int32_t> prompt) -> std::string {
    try {
      const SequencePart part{.tokens = prompt, .pages = pages};
      runner.run({&part, 1});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal({1, 97}), testing::HasSubstr("token 97 is outside the vocabulary of 97"));
  EXPECT_THAT(refusal({-1}), testing::HasSubstr("token -1 is outside"));
  EXPECT_THAT(refusal(std::vector<int32_t>(513, 1)), testing::HasSubstr("512"));
}

// Every matrix stored as Q4_K, of codes and 6-bit scales that differ from row to row.
class StoredReader final : public ModelReader {
 public:
  void read(const std::string&, size_t, std::span<float> out) const override {
    std::ranges::fill(out, 1.0f);
  }
  std::optional<GgmlType> row_type(const std::string&) const override { return GgmlType::kQ4_K; }
  void read_row(const std::string&, size_t row, std::span<std::byte> out) const override {
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t in_block = i % 144;
      constexpr uint8_t kHalves[] = {0x00, 0x1c, 0x00, 0x20};  // 2^-8 and 2^-7 in fp16
      out[i] = in_block < 4 ? std::byte{kHalves[in_block]}
                            : static_cast<std::byte>(i * 37 + row * 11 + in_block);
    }
  }
};

TEST(PackModel, KeepsQ4KInFourBits) {
  const auto spec = spec::model_spec_from_hf(
      R"({"model_type": "llama", "vocab_size": 40, "hidden_size": 256, "intermediate_size": 512,
          "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
          "max_position_embeddings": 64})",
      "config");
  const StoredReader reader;
  const PackedModel model = pack_model(spec, reader);
  std::vector<std::byte> stored(144);
  std::vector<float> want(256), got(256);
  for (const size_t row : {0u, 1u, 31u, 39u}) {
    reader.read_row("", row, stored);
    kernels::dequantize(GgmlType::kQ4_K, stored, want);
    model.tokens.read_row(row, got);
    EXPECT_EQ(got, want);  // these products of scales need no rounding
  }
  EXPECT_EQ(model.layers[0].up.shape.packing, kernels::Packing::kQ4Min);
}

// Rows of a GGUF file in one block format, of numbers that MadeReader makes.
class QuantisedReader final : public ModelReader {
 public:
  QuantisedReader(const spec::ModelSpec& spec, GgmlType type) : made_(spec), type_(type) {}
  std::optional<GgmlType> row_type(const std::string&) const override { return type_; }
  void read_row(const std::string& name, size_t row, std::span<std::byte> out) const override {
    std::vector<float> values(kColumns);
    made_.read(name, row * kColumns, values);
    kernels::quantize(type_, values, out);
  }
  void read(const std::string& name, size_t begin, std::span<float> out) const override {
    made_.read(name, begin, out);
    if (out.size() % kColumns != 0) return;
    std::vector<std::byte> blocks(out.size() / kColumns * layout_of(type_).block_bytes);
    kernels::quantize(type_, out, blocks);
    kernels::dequantize(type_, blocks, out);
  }

 private:
  static constexpr size_t kColumns = 256;
  test::MadeReader made_;
  GgmlType type_;
};

// Between the weights of the file, exactly, and those that are multiplied: what the packing adds
// to the type's own error is a small share of it.
TEST(PackModel, KeepsTypesOf256NearWhatTheFileHas) {
  const auto spec = spec::model_spec_from_hf(
      R"({"model_type": "llama", "vocab_size": 97, "hidden_size": 256, "intermediate_size": 256,
          "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
          "max_position_embeddings": 64})",
      "config");
  const test::MadeReader made(spec);
  struct Case {
    GgmlType type;
    kernels::Packing packing;
    double share;  // of the type's own error, root of squares
  };
  for (const auto& [type, packing, share] : {Case{GgmlType::kQ4_K, kernels::Packing::kQ4Min, 0.01},
                                             {GgmlType::kQ5_K, kernels::Packing::kQ8, 0.25},
                                             {GgmlType::kQ6_K, kernels::Packing::kQ8, 0.5}}) {
    const QuantisedReader reader(spec, type);
    const PackedModel model = pack_model(spec, reader);
    EXPECT_EQ(model.tokens.shape.packing, packing);
    EXPECT_EQ(model.layers[0].qkv.shape.packing, packing);
    double added = 0, own = 0;
    std::vector<float> exact(256), stored(256), kept(256);
    for (size_t row = 0; row < 97; ++row) {
      made.read("model.embed_tokens.weight", row * 256, exact);
      reader.read("model.embed_tokens.weight", row * 256, stored);
      model.tokens.read_row(row, kept);
      for (size_t c = 0; c < 256; ++c) {
        added += std::pow(double{kept[c]} - stored[c], 2);
        own += std::pow(double{stored[c]} - exact[c], 2);
      }
    }
    EXPECT_LT(std::sqrt(added / own), share) << layout_of(type).name;
  }
}

TEST(PackModel, RefusesAnEncoder) {
  const auto spec = spec::model_spec_from_hf(
      R"({"model_type": "bert", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 64,
          "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32})",
      "config");
  EXPECT_THROW(pack_model(spec, test::MadeReader(spec)), Error);
}

}  // namespace
}  // namespace hydrofoil::inference::runner_test
