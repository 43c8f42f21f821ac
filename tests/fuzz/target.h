// SPDX-License-Identifier: Apache-2.0
// Parsers of files that strangers wrote, each as one function that takes any bytes. It returns when
// the parser refused them with an Error or what came out keeps the contract; everything else
// (another exception, a crash, a sanitizer's report) is a finding.
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace hydrofoil::fuzz {

struct Target {
  const char* name;
  void (*run)(const std::string& input);
  std::vector<std::string> (*seeds)();  // good inputs: a good one is accepted
  std::vector<std::string_view> words;  // what means something to the parser
};

const Target& safetensors_target();
const Target& gguf_target();
const Target& torch_zip_target();
const Target& tokenizer_json_target();
const Target& chat_template_target();
const Target& config_json_target();

inline std::vector<const Target*> targets() {
  return {&safetensors_target(),    &gguf_target(),          &torch_zip_target(),
          &tokenizer_json_target(), &chat_template_target(), &config_json_target()};
}

// The contract of a parser. Its violation is no Error, which would pass as a refusal.
inline void require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(std::string("contract: ") + what);
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string read_seed(const std::string& path_below_tests);

}  // namespace hydrofoil::fuzz
