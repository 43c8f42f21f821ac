// SPDX-License-Identifier: Apache-2.0
// hydrofoil eval, and what convert says of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/cli/tiny_model.h"

namespace hydrofoil::cli::eval_test {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

// Of bytes that are tokens of a vocabulary of 97: no spaces.
const std::string kText = "Some_text_of_seventy_bytes_or_so,_which_a_random_model_cannot_foresee.";

using Eval = TinyModel;
using Convert = TinyModel;

TEST_F(Eval, CountsEveryByteButTheFirst) {
  const auto ran = run("eval", "--json --length 16 --text " + file("text.txt", kText));
  ASSERT_EQ(ran.code, 0) << ran.out;
  const auto result = Json::parse(ran.out);
  EXPECT_EQ(result["tokens"], kText.size() - 1);
  EXPECT_EQ(result["sequence_length"], 16);
  EXPECT_NEAR(result["perplexity"].get<double>(), std::exp(result["loss"].get<double>()), 1e-9);
  EXPECT_NEAR(result["bits_per_byte"].get<double>(),
              result["loss"].get<double>() * static_cast<double>(kText.size() - 1) / std::log(2) /
                  static_cast<double>(kText.size()),
              1e-9);
}

TEST_F(Eval, AnswersQuestions) {
  const auto ran =
      run("eval", "--json --choices " +
                      file("questions.jsonl", R"({"prompt": "a", "choices": ["b"], "answer": 0})"));
  ASSERT_EQ(ran.code, 0) << ran.out;
  EXPECT_EQ(Json::parse(ran.out),
            (Json{{"accuracy", 1.0}, {"accuracy_normalized", 1.0}, {"questions", 1}}));
}

TEST_F(Eval, WantsATextOrQuestions) {
  EXPECT_EQ(run("eval", "").code, 2);
}

TEST_F(Convert, KeepsAnOutputWhosePerplexityRisesTooMuchAside) {
  const std::string options =
      quoted("out") + " --type bf16 --text " + file("text.txt", kText) + " --max-rise ";
  const auto failed = run("convert", options + "0%");
  EXPECT_EQ(failed.code, 7) << failed.out;
  EXPECT_THAT(failed.out, HasSubstr("out.rejected: the perplexity rises from"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out.rejected"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));

  std::filesystem::remove_all(folder_ / "out.rejected");
  const auto passed = run("convert", options + "50%");
  EXPECT_EQ(passed.code, 0) << passed.out;
  EXPECT_THAT(passed.out, HasSubstr(" after: "));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out.rejected"));

  EXPECT_EQ(run("convert", options + "much").code, 2);
}

// A folder of rows that are multiples of 256 but for those of one matrix.
void make_wide(const std::filesystem::path& folder) {
  using Tensor = std::pair<const char*, std::vector<size_t>>;
  const std::vector<Tensor> tensors = {{"model.embed_tokens.weight", {257, 256}},
                                       {"model.layers.0.input_layernorm.weight", {256}},
                                       {"model.layers.0.self_attn.q_proj.weight", {256, 256}},
                                       {"model.layers.0.self_attn.k_proj.weight", {128, 256}},
                                       {"model.layers.0.self_attn.v_proj.weight", {128, 256}},
                                       {"model.layers.0.self_attn.o_proj.weight", {256, 256}},
                                       {"model.layers.0.post_attention_layernorm.weight", {256}},
                                       {"model.layers.0.mlp.gate_proj.weight", {320, 256}},
                                       {"model.layers.0.mlp.up_proj.weight", {320, 256}},
                                       {"model.layers.0.mlp.down_proj.weight", {256, 320}},
                                       {"model.norm.weight", {256}}};
  std::mt19937_64 engine(11);
  std::normal_distribution<float> normal(0, 0.06f);
  std::vector<float> values;
  Json header;
  for (const auto& [name, shape] : tensors) {
    const size_t begin = values.size(), rows = shape.size() == 2 ? shape[0] : 1;
    for (size_t i = 0; i < rows * shape.back(); ++i)
      values.push_back(shape.size() == 1 ? 1 : normal(engine));
    header[name] = {
        {"dtype", "F32"}, {"shape", shape}, {"data_offsets", {4 * begin, 4 * values.size()}}};
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  std::ofstream out(folder / "model.safetensors", std::ios::binary);
  out.write(reinterpret_cast<const char*>(&length), 8) << text;
  out.write(reinterpret_cast<const char*>(values.data()),
            static_cast<std::streamsize>(4 * values.size()));
  std::ofstream(folder / "config.json")
      << R"({"model_type": "llama", "vocab_size": 257, "hidden_size": 256, "intermediate_size": 320,
             "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
             "max_position_embeddings": 64, "tie_word_embeddings": true})";
}

// What is lost falls with the bits, and the file runs as it is.
TEST_F(Convert, WritesTypesOf256AndSaysWhereRowsDoNotFit) {
  make_wide(folder_);
  const std::string text = file("text.txt", kText);
  double before = 0;
  for (const auto& [type, stands_in, most] :
       {std::tuple{"q6_k", "q8_0", 0.02}, {"q5_k", "q5_1", 0.04}, {"q4_k", "q4_1", 0.08}}) {
    const std::string out = quoted(std::string(type) + ".gguf");
    const auto ran = run("convert", out + " --text " + text + " --json --type " + type);
    ASSERT_EQ(ran.code, 0) << ran.out;
    const auto result = Json::parse(ran.out);
    std::map<std::string, int> types{{"f32", 3}, {type, 6}, {stands_in, 1}};
    ++types["q6_k"];  // the embedding
    EXPECT_EQ(result["types"], Json(types));
    before = result["perplexity_before"];
    EXPECT_NEAR(result["perplexity_after"].get<double>() / before, 1, most) << type;
  }
  const auto said = run("convert", quoted("again.gguf") + " --type q4_k");
  EXPECT_THAT(said.out, HasSubstr("no multiples of 256 have another type: 1 q4_1"));
}

TEST_F(Convert, SaysThatInt8IsNoTypeOfFiles) {
  const auto file_type = run("convert", quoted("out.gguf") + " --type int8");
  EXPECT_EQ(file_type.code, 2);
  EXPECT_THAT(file_type.out, HasSubstr("take q8_0"));
  EXPECT_EQ(run("convert", quoted("out") + " --type int8").code, 2);
  EXPECT_EQ(run("convert", quoted("out") + " --type q4_k").code, 2);  // no type of folders
  EXPECT_EQ(run("convert", quoted("out.gguf") + " --type q3_k").code, 2);
  // Rows of 36 are no blocks at all.
  std::filesystem::remove(folder_ / "tokenizer.json");  // of more tokens than the embedding
  const auto misfit = run("convert", quoted("out.gguf") + " --type q4_k");
  EXPECT_EQ(misfit.code, 3) << misfit.out;
  EXPECT_THAT(misfit.out, HasSubstr("nearest type that fits is BF16"));
}

TEST_F(Eval, Int8IsTheNameOfWeightsInBytes) {
  make_wide(folder_);
  const std::string options = "--json --text " + file("text.txt", kText) + " --type ";
  const auto bytes = run("eval", options + "q8_0");
  ASSERT_EQ(bytes.code, 0) << bytes.out;
  EXPECT_EQ(run("eval", options + "int8").out, bytes.out);
}

}  // namespace
}  // namespace hydrofoil::cli::eval_test
