// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/key_bias.h"

#include <cmath>

#include "hydrofoil/core/align.h"
#include "hydrofoil/core/dtype.h"
#include "hydrofoil/kernels/attention.h"
#include "hydrofoil/spec/alibi.h"

namespace hydrofoil::inference {

// Falcon's are rounded to bfloat16, and added before scaling.
KeyBias::KeyBias(const spec::ModelSpec& spec) : in_bfloat16_(spec.alibi_before_scale) {
  if (spec.positions != spec::Positions::kAlibi) return;
  slopes_ = spec::alibi_slopes(spec.heads);
  if (in_bfloat16_) scale_ = 1 / std::sqrt(static_cast<float>(spec.head_dim));
}

size_t KeyBias::room_for(size_t keys) {
  return round_up(2 * keys, kernels::kChunkKeys);
}

size_t KeyBias::bytes_of(const spec::ModelSpec& spec, size_t keys) {
  const bool any = spec.positions == spec::Positions::kAlibi;
  return any ? static_cast<size_t>(spec.heads) * room_for(keys) * sizeof(float) : 0;
}

void KeyBias::reserve(size_t keys) {
  if (slopes_.empty() || keys <= keys_) return;
  keys_ = room_for(keys);
  bias_.resize(slopes_.size() * keys_);
  for (size_t head = 0; head < slopes_.size(); ++head)
    for (size_t key = 0; key < keys_; ++key) bias_[head * keys_ + key] = of(slopes_[head], key);
}

float KeyBias::of(float slope, size_t key) const {
  const auto rounded = [this](float v) { return in_bfloat16_ ? from_bf16(to_bf16(v)) : v; };
  return rounded(rounded(slope) * rounded(static_cast<float>(key))) * scale_;
}

}  // namespace hydrofoil::inference
