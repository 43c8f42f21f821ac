// SPDX-License-Identifier: Apache-2.0
// hydrofoil eval, and what convert says of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

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

}  // namespace
}  // namespace hydrofoil::cli::eval_test
