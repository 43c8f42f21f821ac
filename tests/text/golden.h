// SPDX-License-Identifier: Apache-2.0
// The golden files that make_golden.py made with the `tokenizers` package.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace hydrofoil::text {

inline const std::vector<std::string> kGoldenTokenizers = {"gpt2",    "smollm", "llama3", "qwen2",
                                                           "roberta", "bert",   "t5",     "xlmr",
                                                           "albert",  "llama2", "mistral"};

inline std::string golden_text(const std::string& name) {
  std::ifstream in(std::string(GOLDEN_FOLDER) + "/" + name, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline const nlohmann::json& golden_cases() {
  static const auto cases = nlohmann::json::parse(golden_text("cases.json"));
  return cases;
}

}  // namespace hydrofoil::text
