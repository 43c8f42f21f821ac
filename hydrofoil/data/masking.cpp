// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/data/masking.h"

#include <array>
#include <optional>
#include <stdexcept>

#include "hydrofoil/core/random.h"

namespace hydrofoil::data {
namespace {

double unit(uint32_t word) {
  return word * 0x1p-32;
}

// The four words of a position: whether it is chosen, what becomes of it, and by which token.
int64_t replacement(const Masking& masking, int64_t token, const std::array<uint32_t, 4>& words) {
  const double what = unit(words[1]);
  if (what < 0.8) return masking.mask_token;
  if (what < 0.9)
    return static_cast<int64_t>((uint64_t{words[2]} * static_cast<uint64_t>(masking.vocab_size)) >>
                                32);
  return token;
}

}  // namespace

void mask_tokens(const Masking& masking, uint64_t seed, int64_t sample, std::span<int64_t> tokens,
                 std::span<int64_t> labels, int64_t ignore) {
  if (tokens.size() != labels.size()) throw std::logic_error("mask_tokens: sizes differ");
  const Philox random(seed, RandomUse::kMask, static_cast<uint64_t>(sample));
  std::optional<size_t> first;  // by chance: the one to take when none is chosen
  uint32_t first_word = 0;
  bool chosen = false;
  const auto choose = [&](size_t i) {
    labels[i] = tokens[i];
    tokens[i] = replacement(masking, tokens[i], random.block(i));
    chosen = true;
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    labels[i] = ignore;
    if (masking.is_special(tokens[i])) continue;
    const uint32_t word = random.block(i)[0];
    if (unit(word) < masking.probability) {
      choose(i);
    } else if (!first || word < first_word) {
      first = i;
      first_word = word;
    }
  }
  if (!chosen && first) choose(*first);
}

}  // namespace hydrofoil::data
