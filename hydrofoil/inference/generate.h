// SPDX-License-Identifier: Apache-2.0
// One sequence from a prompt to its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/runner.h"
#include "hydrofoil/inference/sampler.h"
#include "hydrofoil/inference/team.h"

namespace hydrofoil::inference {

struct GenerateOptions {
  int64_t max_tokens = 128;
  SamplingOptions sampling = {};
  std::vector<int32_t> stop_tokens = {};  // end of text; not part of the result
  size_t logits = 0;                      // report the top K logits of each position
  DType cache = DType::kF32;              // of keys and values: kF32 or kBF16
  // Told of each token as it comes; false ends the text.
  std::function<bool(int32_t token)> on_token = {};
};

enum class Finish : uint8_t {
  kStop,    // a stop token, or on_token's wish
  kLength,  // max_tokens, or the model's positions end
};

struct Generated {
  std::vector<int32_t> tokens;
  Finish finish = Finish::kLength;
  // Entry i: what follows token i of prompt + tokens, largest first. Prompt positions included.
  std::vector<std::vector<TokenLogit>> logits = {};
  double prompt_seconds = 0, seconds = 0;  // until the first token; for all later ones
};

// A text that goes on: what has been run stays in the cache.
class Session {
 public:
  // Room for so many positions; memory is taken as they are used. step_tokens: of a prompt, at a
  // time.
  Session(const PackedModel& model, Team& team, DType cache, int64_t positions,
          size_t step_tokens = 256);
  ~Session();

  // The text so far, these tokens, and what follows them. Error(kData) where the text is empty, has
  // no room, or has a token outside the vocabulary; Error(kNumeric) when the model's logits are not
  // finite.
  Generated generate(std::span<const int32_t> tokens, const GenerateOptions& options);
  int64_t room() const;  // positions that are left

 private:
  void run_pending(const GenerateOptions& options, Generated& result);

  const PackedModel& model_;
  const int64_t positions_;
  KvCache cache_;
  std::unique_ptr<Runner> runner_;
  std::vector<Page> pages_;
  std::vector<int32_t> text_;
  size_t done_ = 0;  // tokens of the text that have been run
};

// One text, in a session of its own.
Generated generate(const PackedModel& model, Team& team, std::span<const int32_t> prompt,
                   const GenerateOptions& options = {});

}  // namespace hydrofoil::inference
