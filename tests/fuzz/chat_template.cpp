// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/chat_template.h"

#include <nlohmann/json.hpp>

#include "hydrofoil/core/error.h"
#include "tests/fuzz/target.h"

namespace hydrofoil::fuzz {
namespace {

void run(const std::string& input) {
  try {
    const text::ChatTemplate chat({.source = input, .bos_token = "<s>"});
    const auto text = chat.render({{{"role", "user"}, {"content", "Hi \xC3\xA9"}},
                                   {{"role", "assistant"}, {"content", "Hello\n"}}});
    require(text.size() <= size_t{16} << 20, "the limit of what a template writes");
  } catch (const Error&) {
  }
}

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const auto& golden : nlohmann::json::parse(read_seed("text/golden/templates.json")))
    if (golden.contains("text")) all.push_back(golden["template"]);
  return all;
}

}  // namespace

const Target& chat_template_target() {
  static const Target target{"chat_template",
                             run,
                             seeds,
                             {"{{",
                              "}}",
                              "{%",
                              "%}",
                              "{%-",
                              "-%}",
                              "{% for m in messages %}",
                              "{% endfor %}",
                              "{% if ",
                              "{% set x = ",
                              "{% endif %}",
                              " | ",
                              "tojson",
                              "loop.",
                              "messages",
                              "range(9)",
                              "[::-1]",
                              "namespace(",
                              "~",
                              "**",
                              "9999999999",
                              "\\u00e9",
                              "(",
                              ")",
                              " is ",
                              "x(",
                              "{% macro x(y) %}",
                              "{% endmacro %}"}};
  return target;
}

}  // namespace hydrofoil::fuzz
