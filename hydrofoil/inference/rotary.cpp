// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hydrofoil::inference {
namespace {

using spec::RopeKind;
using spec::RopeScaling;

// Waves longer than the trained length are stretched by the factor, short ones kept, and those
// between mixed.
float llama3(float plain, const RopeScaling& s) {
  const auto trained = static_cast<float>(s.original_positions);
  const auto factor = static_cast<float>(s.factor), low = static_cast<float>(s.low_frequency),
             high = static_cast<float>(s.high_frequency);
  const float wave = 1 / plain * static_cast<float>(2 * std::numbers::pi);
  if (wave < trained / high) return plain;
  if (wave > trained / low) return plain / factor;
  const float smooth = (trained / wave - low) / (high - low);
  return (1 - smooth) * plain / factor + smooth * plain;
}

// Dimensions that turn often within the trained length are kept, those that hardly turn are
// stretched, and a ramp lies between (YaRN, Peng et al. 2023).
struct YarnRamp {
  double low, high;

  YarnRamp(const RopeScaling& s, int64_t dim, double theta) {
    const auto dimension_of = [&](double turns) {
      return static_cast<double>(dim) *
             std::log(static_cast<double>(s.original_positions) / (turns * 2 * std::numbers::pi)) /
             (2 * std::log(theta));
    };
    low = dimension_of(s.beta_fast), high = dimension_of(s.beta_slow);
    if (s.truncate) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, static_cast<double>(dim - 1));
    if (low == high) high += 0.001;
  }
  float of(float power, size_t index, const RopeScaling& s) const {
    const auto at = static_cast<float>((static_cast<double>(index) - low) / (high - low));
    const float kept = 1 - std::clamp(at, 0.0f, 1.0f);
    return 1 / (power * static_cast<float>(s.factor)) * (1 - kept) + 1 / power * kept;
  }
};

}  // namespace

size_t RotaryTable::pairs_of(const spec::ModelSpec& spec) {
  return static_cast<size_t>(spec.turning_dim()) / 2;
}

RotaryTable::RotaryTable(const spec::ModelSpec& spec, double theta)
    : theta_(theta != 0 ? theta : spec.rope_theta), pairs_(pairs_of(spec)) {
  if (theta == 0) scaling_ = spec.rope_scaling;
}

std::vector<float> RotaryTable::frequencies() const {
  const YarnRamp ramp(scaling_, static_cast<int64_t>(2 * pairs_), theta_);
  std::vector<float> result;
  for (size_t i = 0; i < pairs_; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(2 * pairs_);
    const float power = std::pow(static_cast<float>(theta_), exponent), plain = 1 / power;
    switch (scaling_.kind) {
      case RopeKind::kPlain:
      case RopeKind::kDynamic:
        result.push_back(plain);
        break;
      case RopeKind::kLinear:
        result.push_back(plain / static_cast<float>(scaling_.factor));
        break;
      case RopeKind::kLlama3:
        result.push_back(llama3(plain, scaling_));
        break;
      case RopeKind::kYarn:
        result.push_back(ramp.of(power, i, scaling_));
        break;
    }
  }
  return result;
}

void RotaryTable::reserve(int64_t end) {
  if (end <= reserved_) return;
  const auto frequency = frequencies();
  const auto factor = static_cast<float>(scaling_.attention_factor);
  cosines_.resize(static_cast<size_t>(end) * pairs_);
  sines_.resize(cosines_.size());
  for (int64_t position = reserved_; position < end; ++position)
    for (size_t i = 0; i < pairs_; ++i) {
      const float angle = static_cast<float>(position) * frequency[i];
      cosines_[static_cast<size_t>(position) * pairs_ + i] = std::cos(angle) * factor;
      sines_[static_cast<size_t>(position) * pairs_ + i] = std::sin(angle) * factor;
    }
  reserved_ = end;
}

}  // namespace hydrofoil::inference
