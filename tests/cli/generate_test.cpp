// SPDX-License-Identifier: Apache-2.0
// hydrofoil generate on a random tiny model with a tokenizer of bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/cli/tiny_model.h"

namespace hydrofoil::cli::generate_test {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

class Generate : public TinyModel {
 protected:
  Result run(const std::string& options) const { return TinyModel::run("generate", options); }
};

TEST_F(Generate, AnswersAFileOfPromptsInItsOrder) {
  const auto prompts =
      file("prompts.jsonl",
           "{\"prompt\": [1, 2, 3], \"max_tokens\": 9, \"logprobs\": 2}\n"
           "\n"
           "{\"prompt\": [4, 5], \"n\": 2, \"temperature\": 1, \"max_tokens\": 3}\n"
           "{\"prompt\": [1, 2, 3]}\n");
  const fs::path output = folder_ / "answers.jsonl";
  const auto ran = run("--greedy --max-tokens 5 --kv f32 --threads 1 --prompts " + prompts +
                       " --output '" + output.string() + "'");
  ASSERT_EQ(ran.code, 0) << ran.out;
  EXPECT_THAT(ran.out, testing::HasSubstr("4 of 4 texts"));
  std::ifstream lines(output);
  std::vector<Json> answers;
  for (std::string line; std::getline(lines, line);) answers.push_back(Json::parse(line));
  ASSERT_EQ(answers.size(), 4u);
  EXPECT_EQ(answers[0]["line"], 1);
  EXPECT_EQ(answers[0]["tokens"], 9);
  EXPECT_EQ(answers[0]["finish_reason"], "length");
  ASSERT_EQ(answers[0]["logprobs"].size(), 9u);
  EXPECT_EQ(answers[0]["logprobs"][0]["token"], answers[0]["logprobs"][0]["top"][0]["token"]);
  EXPECT_EQ(answers[1]["line"], 3);
  EXPECT_EQ(answers[2]["line"], 3);
  EXPECT_EQ(answers[2]["sample"], 1);
  EXPECT_EQ(answers[3]["line"], 4);
  EXPECT_EQ(answers[3]["tokens"], 5);
  EXPECT_FALSE(answers[3].contains("logprobs"));
}

TEST_F(Generate, NamesBadLines) {
  const auto ran = run("--prompts " + file("bad.jsonl",
                                           "{\"prompt\": [1]}\n"
                                           "nonsense\n"
                                           "{\"prompt\": [1], \"temprature\": 1}\n"
                                           "{\"prompt\": [1000000]}\n"));
  EXPECT_EQ(ran.code, 5);
  EXPECT_THAT(ran.out, testing::HasSubstr("bad.jsonl: 3 bad lines; line 2: this is not JSON; "
                                          "line 3: \"temprature\" is no field of a request; line "
                                          "4: token 1000000 is outside"));
  EXPECT_EQ(run("--prompts " + file("empty.jsonl", "\n")).code, 5);
}

TEST_F(Generate, RefusesACacheWithoutRoom) {
  const auto ran =
      run("--cache-bytes 10 --prompts " + file("prompts.jsonl", "{\"prompt\": [1]}\n"));
  EXPECT_EQ(ran.code, 4);
  EXPECT_THAT(ran.out, testing::HasSubstr("--cache-bytes"));
}

}  // namespace
}  // namespace hydrofoil::cli::generate_test
