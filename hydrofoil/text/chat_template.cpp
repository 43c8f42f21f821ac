// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/text/chat_template.h"

#include <nlohmann/json.hpp>

namespace hydrofoil::text {
namespace {

struct Usual {
  const char *mark, *source;
};
constexpr Usual kUsual[] = {
    {"<|im_start|>",
     R"({% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %})"
     R"({{ '<|im_start|>assistant\n' if add_generation_prompt }})"},
    {"<|start_header_id|>",
     R"({{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ m.content ~ '<|eot_id|>' }}{% endfor %})"
     R"({{ '<|start_header_id|>assistant<|end_header_id|>\n\n' if add_generation_prompt }})"},
    {"<start_of_turn>",
     R"({{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' ~ ('model' if m.role == 'assistant' else m.role) ~ '\n' ~ m.content ~ '<end_of_turn>\n' }}{% endfor %})"
     R"({{ '<start_of_turn>model\n' if add_generation_prompt }})"}};

}  // namespace

std::optional<ChatTemplateSpec> usual_chat_template(const Tokenizer& tokenizer) {
  for (const auto& [mark, source] : kUsual)
    if (tokenizer.id_of(mark)) return ChatTemplateSpec{.source = source};
  return std::nullopt;
}

std::string ChatTemplate::render(const nlohmann::ordered_json& messages) const {
  return template_.render({{"messages", messages},
                           {"add_generation_prompt", true},
                           {"bos_token", bos_token_},
                           {"eos_token", eos_token_}});
}

}  // namespace hydrofoil::text
