// SPDX-License-Identifier: Apache-2.0
// The text of a stream of tokens, up to the first stop string: what may be the beginning of one is
// held back until it is certain.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::engine {

class StopText {
 public:
  // Keeps a reference to the tokenizer. Special tokens have no text.
  StopText(const text::Tokenizer& tokenizer, std::vector<std::string> stops);

  std::string push(int32_t token);  // the text that has become certain
  std::string finish();             // what was held back; after a stop string, nothing
  bool stopped() const { return stopped_; }

 private:
  std::string certain();

  text::Detokenizer words_;
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace hydrofoil::engine
