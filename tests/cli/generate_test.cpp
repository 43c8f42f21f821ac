// SPDX-License-Identifier: Apache-2.0
// hydrofoil generate on a random tiny model with a tokenizer of bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "hydrofoil/text/bpe_trainer.h"
#include "hydrofoil/text/tokenizer_json.h"
#include "tests/cli/program.h"

namespace hydrofoil::cli {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

class Generate : public testing::Test {
 protected:
  Generate() : folder_(fs::path(testing::TempDir()) / "generate") {
    fs::create_directories(folder_);
    for (const char* name : {"config.json", "model.safetensors"})
      fs::copy_file(fs::path(HYDROFOIL_SOURCE) / "tests/models/golden/llama" / name, folder_ / name,
                    fs::copy_options::overwrite_existing);
    text::save_tokenizer(text::BpeTrainer({.vocab_size = 257}).train(), folder_ / "tokenizer.json");
  }
  ~Generate() override { fs::remove_all(folder_); }

  Result run(const std::string& options) const {
    std::string command = "generate '";
    command += folder_.string() + "' " + options + " 2>&1";
    return hydrofoil(command);
  }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    std::string quoted = "'";
    quoted += (folder_ / name).string() + "'";
    return quoted;
  }

  const fs::path folder_;
};

TEST_F(Generate, AnswersAFileOfPromptsInItsOrder) {
  const auto prompts =
      file("prompts.jsonl",
           "{\"prompt\": [1, 2, 3], \"max_tokens\": 9, \"logprobs\": 2}\n"
           "\n"
           "{\"prompt\": [4, 5], \"n\": 2, \"temperature\": 1, \"max_tokens\": 3}\n"
           "{\"prompt\": [1, 2, 3]}\n");
  const fs::path output = folder_ / "answers.jsonl";
  const auto ran = run("--greedy --max-tokens 5 --cache-type f32 --threads 1 --prompts " + prompts +
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
}  // namespace hydrofoil::cli
