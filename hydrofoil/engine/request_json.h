// SPDX-License-Identifier: Apache-2.0
// A request in OpenAI's words:
//
//   {"prompt": "Once", "max_tokens": 20, "temperature": 0.7, "n": 2, "stop": ["\n"], "seed": 3}
//
// and top_k, top_p, min_p, typical_p, repetition_penalty, presence_penalty, frequency_penalty,
// logit_bias, logprobs, priority. A prompt may be a list of tokens.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "hydrofoil/engine/request.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::engine {

// What it does not say is as in `base`. Error(kData) names the field that is unknown or wrong.
Request request_from_json(const nlohmann::json& json, Request base,
                          const text::Tokenizer& tokenizer);

}  // namespace hydrofoil::engine
