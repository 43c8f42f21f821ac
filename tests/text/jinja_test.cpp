// SPDX-License-Identifier: Apache-2.0
// Oracle: transformers' Jinja (make_templates.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/text/bpe_trainer.h"
#include "hydrofoil/text/chat_template.h"
#include "hydrofoil/text/jinja/template.h"

namespace hydrofoil::text::jinja::jinja_test {
namespace {

using Json = nlohmann::ordered_json;

std::string rendered(const std::string& source, const Json& variables = Json::object()) {
  return Template(source).render(variables);
}

TEST(Jinja, WritesWhatTransformersWrites) {
  const Json cases = Json::parse(std::ifstream(GOLDEN_FOLDER "/templates.json"));
  for (const auto& golden : cases) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    std::string text, error;
    try {
      text = rendered(golden["template"], golden["variables"]);
    } catch (const Error& e) {
      error = e.line();
      EXPECT_EQ(e.code(), ExitCode::kData);
      EXPECT_THAT(e.where(), testing::StartsWith("chat template, line "));
    }
    if (golden.contains("error"))
      EXPECT_NE(error, "") << text;
    else
      EXPECT_EQ(text, golden["text"].get<std::string>()) << error;
  }
}

std::string refusal(const std::string& source) {
  try {
    return "wrote " + rendered(source).substr(0, 100);
  } catch (const Error& error) {
    return error.line();
  }
}

TEST(Jinja, NamesTheLine) {
  EXPECT_EQ(refusal("a\n\n{{ x.y }}"),
            "chat template, line 3: 'x', which is undefined, has no members");
  EXPECT_EQ(refusal("{% if true %}\n{% nonsense %}"),
            "chat template, line 2: unknown tag 'nonsense'");
  EXPECT_THAT(refusal("\xFF"), testing::HasSubstr("UTF-8"));
  EXPECT_EQ(refusal("{{ raise_exception('only two roles') }}"),
            "chat template, line 1: the template refuses: only two roles");
}

std::string repeated(const std::string& text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

TEST(Jinja, HasLimits) {
  using testing::HasSubstr;
  EXPECT_THAT(
      refusal("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"),
      HasSubstr("too long"));
  EXPECT_THAT(refusal("{{ 'a' * 10 ** 9 }}"), HasSubstr("too long"));
  EXPECT_THAT(refusal("{% set x = 'aaaaaaaa' %}" + repeated("{% set x = x ~ x %}", 40)),
              HasSubstr("too long"));
  EXPECT_THAT(refusal("{% set x = [1, 2] %}" + repeated("{% set x = x + x %}", 40)),
              HasSubstr("too large"));
  EXPECT_THAT(refusal("{% set x = [1, 2] %}" + repeated("{% set x = [x, x] %}", 40)),
              HasSubstr("too large"));
  EXPECT_THAT(refusal("{% set n = namespace(l=[]) %}{% for i in range(1000) %}{% set n.l = [n.l] "
                      "%}{% endfor %}"),
              HasSubstr("too large"));
  EXPECT_THAT(refusal("{% set n = namespace(l=[]) %}{% set n.l = [n] %}"), HasSubstr("namespace"));
  EXPECT_THAT(refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("too deeply"));
  EXPECT_THAT(refusal("{{ " + repeated("(", 100000) + repeated(")", 100000) + " }}"),
              HasSubstr("too deeply"));
  EXPECT_THAT(refusal("{{ " + repeated("[", 100000) + repeated("]", 100000) + " }}"),
              HasSubstr("too deeply"));
  EXPECT_THAT(refusal("{{ " + repeated("not ", 100000) + "1 }}"), HasSubstr("too deeply"));
  EXPECT_THAT(refusal("{{ 1" + repeated(" + 1", 100000) + " }}"), HasSubstr("too long"));
  EXPECT_THAT(refusal("{{ x" + repeated(".x", 100000) + " }}"), HasSubstr("too long"));
  EXPECT_THAT(refusal("{{ 1" + repeated(" if 1", 100000) + " }}"), HasSubstr("too long"));
  EXPECT_THAT(refusal(repeated("{% if 1 %}", 100000)), HasSubstr("too deeply"));
  EXPECT_THAT(refusal("{% if 1 %}" + repeated("{% elif 1 %}", 100000)), HasSubstr("too deeply"));
}

TEST(ChatTemplate, IsFoundByTheTokenizersMarksWhereAModelHasNone) {
  const auto written = [](const std::string& mark) {
    const Tokenizer tokenizer(BpeTrainer({.vocab_size = 257, .special_tokens = {mark}}).train());
    return ChatTemplate(usual_chat_template(tokenizer).value())
        .render(
            {{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "Ho"}}});
  };
  EXPECT_EQ(written("<|im_start|>"),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n<|im_start|>"
            "assistant\n");
  EXPECT_EQ(written("<start_of_turn>"),
            "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHo<end_of_turn>\n<start_"
            "of_turn>model\n");
  EXPECT_FALSE(usual_chat_template(Tokenizer(BpeTrainer({.vocab_size = 257}).train())));
}

}  // namespace
}  // namespace hydrofoil::text::jinja::jinja_test
