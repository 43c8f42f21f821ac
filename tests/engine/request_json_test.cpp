// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/request_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/bpe_trainer.h"

namespace hydrofoil::engine::request_json_test {
namespace {

const text::Tokenizer& bytes() {
  static const text::Tokenizer tokenizer(text::BpeTrainer({.vocab_size = 257}).train());
  return tokenizer;
}

Request read(const std::string& json, const Request& base = {}) {
  return request_from_json(nlohmann::json::parse(json), base, bytes());
}

TEST(RequestJson, ReadsEveryField) {
  const auto r =
      read(R"({"prompt": "Hi", "max_tokens": 7, "temperature": 0.5, "top_k": 3, "top_p": 0.9,
      "min_p": 0.1, "typical_p": 0.8, "repetition_penalty": 1.1, "presence_penalty": -1,
      "frequency_penalty": 2, "logit_bias": {"5": -100}, "seed": 9, "n": 4, "stop": "\n",
      "logprobs": 2, "priority": -3})");
  EXPECT_EQ(r.prompt, bytes().encode("Hi"));
  EXPECT_EQ(r.max_tokens, 7);
  const auto& s = r.sampling;
  EXPECT_EQ(s.temperature, 0.5);
  EXPECT_EQ(s.top_k, 3);
  EXPECT_EQ(s.top_p, 0.9);
  EXPECT_EQ(s.min_p, 0.1);
  EXPECT_EQ(s.typical_p, 0.8);
  EXPECT_EQ(s.repetition_penalty, 1.1);
  EXPECT_EQ(s.presence_penalty, -1);
  EXPECT_EQ(s.frequency_penalty, 2);
  EXPECT_THAT(s.logit_bias, testing::ElementsAre(testing::Pair(5, -100.0)));
  EXPECT_EQ(s.seed, 9u);
  EXPECT_EQ(r.samples, 4);
  EXPECT_THAT(r.stop, testing::ElementsAre("\n"));
  EXPECT_EQ(r.logits, 2u);
  EXPECT_EQ(r.priority, -3);
}

TEST(RequestJson, LeavesTheRestToTheBase) {
  Request base;
  base.max_tokens = 3;
  base.stop_tokens = {1};
  const auto r = read(R"({"prompt": [5, 6], "stop": ["a", "b"]})", base);
  EXPECT_THAT(r.prompt, testing::ElementsAre(5, 6));
  EXPECT_EQ(r.max_tokens, 3);
  EXPECT_THAT(r.stop_tokens, testing::ElementsAre(1));
  EXPECT_THAT(r.stop, testing::ElementsAre("a", "b"));
}

TEST(RequestJson, NamesWhatIsWrong) {
  const auto refusal = [](const std::string& json) -> std::string {
    try {
      read(json);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal("[]"), "a request is an object");
  EXPECT_EQ(refusal("{}"), "\"prompt\" is missing");
  EXPECT_EQ(refusal(R"({"prompt": "a", "temprature": 1})"),
            "\"temprature\" is no field of a request");
  EXPECT_EQ(refusal(R"({"prompt": "a", "temperature": 101})"),
            "\"temperature\" must be a number from 0 to 100");
  EXPECT_EQ(refusal(R"({"prompt": "a", "n": 1e99})"), "\"n\" must be an integer from 1 to 128");
  EXPECT_EQ(refusal(R"({"prompt": "a", "n": 99999999999999999999})"),
            "\"n\" must be an integer from 1 to 128");
  EXPECT_EQ(refusal(R"({"prompt": "a", "n": 1.5})"), "\"n\" must be an integer from 1 to 128");
  EXPECT_EQ(refusal(R"({"prompt": "a", "logit_bias": {"x": 1}})"),
            "\"logit_bias\" must be an object of numbers by token, \"x\" is none");
  EXPECT_EQ(refusal(R"({"prompt": "a", "stop": [1]})"),
            "\"stop\" must be a string or a list of strings");
  EXPECT_EQ(refusal(R"({"prompt": 1})"), "\"prompt\" must be a string or a list of tokens");
}

}  // namespace
}  // namespace hydrofoil::engine::request_json_test
