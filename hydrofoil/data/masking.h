// SPDX-License-Identifier: Apache-2.0
// The masked-language-model objective (Devlin et al. 2019): of 15 % of the tokens the model has to
// say what they were; of these 80 % are replaced by the mask token, 10 % by a random token, 10 %
// stay as they are.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace hydrofoil::data {

struct Masking {
  int64_t vocab_size = 0;  // random tokens come from [0, vocab_size)
  int64_t mask_token = 0;
  std::function<bool(int64_t)> is_special = [](int64_t) { return false; };  // never chosen
  double probability = 0.15;
};

// Replaces chosen tokens; `labels` gets the original of these and `ignore` elsewhere. At least one
// is chosen where there is one that may be. What happens to a position depends on (seed, sample,
// position) only: an epoch that comes again is masked anew, on any number of ranks alike.
void mask_tokens(const Masking& masking, uint64_t seed, int64_t sample, std::span<int64_t> tokens,
                 std::span<int64_t> labels, int64_t ignore);

}  // namespace hydrofoil::data
