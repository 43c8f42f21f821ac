// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/key_bias.h"

#include <bit>
#include <cmath>
#include <cstdint>

#include "hydrofoil/core/align.h"
#include "hydrofoil/core/dtype.h"
#include "hydrofoil/kernels/attention.h"

namespace hydrofoil::inference {
namespace {

// A geometric row for the heads up to a power of two; further heads take every other slope of the
// row for twice as many.
std::vector<float> alibi_slopes(int64_t heads) {
  const auto whole = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  const auto base = [](int64_t count) {
    return static_cast<float>(std::exp2(-std::exp2(-(std::log2(static_cast<double>(count)) - 3))));
  };
  std::vector<float> row;
  for (int64_t i = 1; i <= whole; ++i) row.push_back(std::pow(base(whole), static_cast<float>(i)));
  for (int64_t i = 1; static_cast<int64_t>(row.size()) < heads; i += 2)
    row.push_back(std::pow(base(2 * whole), static_cast<float>(i)));
  return row;
}

}  // namespace

// Falcon's are rounded to bfloat16, and added before scaling.
KeyBias::KeyBias(const spec::ModelSpec& spec) : in_bfloat16_(spec.alibi_before_scale) {
  if (spec.positions != spec::Positions::kAlibi) return;
  slopes_ = alibi_slopes(spec.heads);
  if (in_bfloat16_) scale_ = 1 / std::sqrt(static_cast<float>(spec.head_dim));
}

void KeyBias::reserve(size_t keys) {
  if (slopes_.empty() || keys <= keys_) return;
  keys_ = round_up(2 * keys, kernels::kChunkKeys);
  bias_.resize(slopes_.size() * keys_);
  for (size_t head = 0; head < slopes_.size(); ++head)
    for (size_t key = 0; key < keys_; ++key) bias_[head * keys_ + key] = of(slopes_[head], key);
}

float KeyBias::of(float slope, size_t key) const {
  const auto rounded = [this](float v) { return in_bfloat16_ ? from_bf16(to_bf16(v)) : v; };
  return rounded(rounded(slope) * rounded(static_cast<float>(key))) * scale_;
}

}  // namespace hydrofoil::inference
