// SPDX-License-Identifier: Apache-2.0
// hydrofoil embed as scripts meet it; the vectors themselves: tests/inference/embedder_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "tests/cli/tiny_model.h"

namespace hydrofoil::cli::embed_test {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

// An encoder saved without a head, and without the prefix that those with one have.
class Embed : public TinyModel {
 protected:
  Embed() {
    const std::string config =
        R"({"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 257,
            "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
            "num_attention_heads": 3, "max_position_embeddings": 20})";
    replace_model(config, 0.5F, "bert.");
  }

  std::vector<Json> embed(const std::string& options) const {
    const Result result = hydrofoil("embed '" + folder_.string() + "' " + options + " 2>/dev/null");
    EXPECT_EQ(result.code, 0);
    std::vector<Json> lines;
    std::istringstream in(result.out);
    for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
    return lines;
  }
};

TEST_F(Embed, ALineEachOfLengthOne) {
  const std::string texts =
      file("texts.jsonl", "\"a film\"\n\n{\"text\": \"a rainy day\"}\n\"a film\"\n");
  const auto lines = embed("--texts " + texts);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["line"], 1);
  EXPECT_EQ(lines[1]["line"], 3);
  EXPECT_EQ(lines[0]["tokens"], 6);
  EXPECT_EQ(lines[0]["embedding"], lines[2]["embedding"]);
  EXPECT_NE(lines[0]["embedding"], lines[1]["embedding"]);
  for (const auto& line : lines) {
    const auto v = line["embedding"].get<std::vector<double>>();
    ASSERT_EQ(v.size(), 24u);
    EXPECT_NEAR(std::inner_product(v.begin(), v.end(), v.begin(), 0.0), 1, 1e-6);
  }
  EXPECT_EQ(run("embed", "--texts " + texts + " --output " + quoted("out.jsonl")).code, 0);
  std::ifstream out(folder_ / "out.jsonl");
  for (const auto& line : lines) {
    std::string written;
    std::getline(out, written);
    EXPECT_EQ(Json::parse(written), line);
  }
}

TEST_F(Embed, LongTextsAreRefusedOrCut) {
  const std::string texts = file("texts.jsonl", "\"abc\"\n\"abcdefghijklmnopqrstuvwxyz\"\n");
  const Result refused = run("embed", "--texts " + texts);
  EXPECT_EQ(refused.code, 5);
  EXPECT_THAT(refused.out, HasSubstr("line 2: the text has 26 tokens, more than 20"));
  EXPECT_EQ(embed("--truncate --texts " + texts)[1]["tokens"], 20);
  const auto cut = embed("--truncate --length 3 --texts " + texts);
  EXPECT_EQ(cut[0]["embedding"], cut[1]["embedding"]);
}

TEST_F(Embed, NamesWhatIsWrong) {
  const auto fails = [&](const std::string& options, int code, const std::string& why) {
    const Result result = run("embed", options);
    EXPECT_EQ(result.code, code) << result.out;
    EXPECT_THAT(result.out, HasSubstr(why));
  };
  fails("", 2, "--texts");
  fails("--texts nowhere", 2, "nowhere");
  fails("--texts " + file("bad.jsonl", "\"a\"\n17\n"), 5, "line 2: expected a text");
  fails("--texts " + file("none.jsonl", "\"\"\n"), 5, "without tokens");
  std::ofstream(folder_ / "config.json") << R"({"model_type": "llama", "vocab_size": 257,
      "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
      "num_attention_heads": 3})";
  fails("--texts " + file("texts.jsonl", "\"a\"\n"), 3, "is a decoder");
}

}  // namespace
}  // namespace hydrofoil::cli::embed_test
