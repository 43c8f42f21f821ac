// SPDX-License-Identifier: Apache-2.0
// What is done to a text before it is cut into words: the normalizers of a HF tokenizer.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/text/charsmap.h"
#include "hydrofoil/text/pre_tokenizer.h"

namespace hydrofoil::text {

struct NormalizeStep {
  enum class Kind : uint8_t {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kLowercase,
    kStripAccents,  // combining marks go
    kStrip,         // white space at the ends goes
    kPrepend,       // `content` before a text that is not empty
    kReplace,       // matches of `pattern` become `content`
    kCharsmap       // `content`: a Charsmap in base64
  };
  Kind kind = Kind::kNfc;
  std::string pattern = {}, content = {};
  bool literal = false;            // the pattern is no regular expression
  bool left = true, right = true;  // kStrip: which ends

  bool operator==(const NormalizeStep&) const = default;
};

// Immutable; threads share it.
class Normalizer {
 public:
  // Throws Error(kData) for a pattern that does not compile and a table that cannot be read.
  explicit Normalizer(const std::vector<NormalizeStep>& steps);

  // Whether apply() would give back any such text as it is.
  bool keeps(std::string_view text) const;
  std::string apply(std::string_view text) const;  // of valid UTF-8, to valid UTF-8

 private:
  struct Step {
    NormalizeStep spec;
    std::optional<Regex> regex = {};
    std::optional<Charsmap> charsmap = {};
  };
  static std::string run(const Step& step, std::string_view text);

  std::vector<Step> steps_;
};

}  // namespace hydrofoil::text
