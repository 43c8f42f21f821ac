// SPDX-License-Identifier: Apache-2.0
// A conversation as the text that a model was tuned on.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "hydrofoil/text/jinja/template.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::text {

// What lies with a model (chat_template.jinja, tokenizer_config.json, GGUF metadata).
struct ChatTemplateSpec {
  std::string source = {};  // Jinja
  std::string bos_token = {}, eos_token = {};
};

// One for models without their own, by the marks in their tokenizer: ChatML's, Llama 3's, Gemma's.
std::optional<ChatTemplateSpec> usual_chat_template(const Tokenizer& tokenizer);

class ChatTemplate {
 public:
  // Error(kData) with the line of what is wrong.
  explicit ChatTemplate(const ChatTemplateSpec& spec)
      : template_(spec.source), bos_token_(spec.bos_token), eos_token_(spec.eos_token) {}

  // messages: [{"role": .., "content": ..}, ..]. The text up to where the assistant answers;
  // special tokens are in it. Error(kData) for a conversation that the template refuses.
  std::string render(const nlohmann::ordered_json& messages) const;

 private:
  jinja::Template template_;
  std::string bos_token_, eos_token_;
};

}  // namespace hydrofoil::text
