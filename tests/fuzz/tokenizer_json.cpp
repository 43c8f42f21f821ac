// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/tokenizer_json.h"

#include "hydrofoil/core/error.h"
#include "tests/fuzz/target.h"

namespace hydrofoil::fuzz {
namespace {

void run(const std::string& input) {
  try {
    const text::Tokenizer tokenizer(text::parse_tokenizer_json(input, "f"));
    // A file whose added tokens contradict its vocabulary comes back as another, or is refused.
    text::parse_tokenizer_json(text::to_tokenizer_json(tokenizer.spec()), "again");
    const auto ids = tokenizer.encode("Hello 123 w\xC3\xB6rld\n\n <|x|>", {.add_template = true});
    for (const int32_t id : ids) require(id < tokenizer.vocab_size(), "ids of the vocabulary");
    tokenizer.decode(ids);
  } catch (const Error&) {
  }
}

std::vector<std::string> seeds() {
  return {R"({"added_tokens":[{"id":3,"content":"<|x|>","special":true,"lstrip":true}],
              "normalizer":{"type":"NFC"},
              "pre_tokenizer":{"type":"Sequence","pretokenizers":[
                {"type":"Split","pattern":{"Regex":"\\s+"},"behavior":"Isolated","invert":false},
                {"type":"Digits","individual_digits":true},
                {"type":"ByteLevel","add_prefix_space":true,"use_regex":true}]},
              "post_processor":{"type":"TemplateProcessing",
                "single":[{"SpecialToken":{"id":"<|x|>"}},{"Sequence":{"id":"A"}}],
                "special_tokens":{"<|x|>":{"ids":[3]}}},
              "decoder":{"type":"ByteLevel"},
              "model":{"type":"BPE","vocab":{"l":0,"o":1,"lo":2,"<|x|>":3},"merges":["l o"]}})",
          read_seed("text/golden/smollm.json"), read_seed("text/golden/llama3.json"),
          read_seed("text/golden/qwen2.json"), read_seed("text/golden/xlmr.json")};
}

}  // namespace

const Target& tokenizer_json_target() {
  static const Target target{
      "tokenizer_json", run, seeds, {"{",        "}",    "[",          "]",           ",",
                                     "null",     "true", "\"type\":",  "\"Removed\"", "\"String\"",
                                     "-1",       "1e9",  "\"merges\"", "\"ids\"",     "\\u0120",
                                     "\\\\p{L}", "(?<=", "*",          "+",           "{1,9}"}};
  return target;
}

}  // namespace hydrofoil::fuzz
