// SPDX-License-Identifier: Apache-2.0
// Angles of rotary positions, as models/rotary.h has them for tensors: frequencies in fp32 and in
// Hugging Face's order of operations. The dynamic kind is plain here: it changes beyond the trained
// length only, where it would turn the keys of every length differently.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::inference {

class RotaryTable {
 public:
  // theta 0: the spec's, with its scaling; else that, unscaled.
  explicit RotaryTable(const spec::ModelSpec& spec, double theta = 0);

  // Makes room for positions [0, end).
  void reserve(int64_t end);
  size_t pairs() const { return pairs_; }
  size_t bytes() const { return (cosines_.size() + sines_.size()) * sizeof(float); }
  static size_t bytes_of(const spec::ModelSpec& spec, int64_t end) {
    return static_cast<size_t>(end) * pairs_of(spec) * 2 * sizeof(float);
  }
  // Of a position below the reserved end, [pairs].
  const float* cosines(int64_t position) const {
    return cosines_.data() + static_cast<size_t>(position) * pairs_;
  }
  const float* sines(int64_t position) const {
    return sines_.data() + static_cast<size_t>(position) * pairs_;
  }

 private:
  static size_t pairs_of(const spec::ModelSpec& spec);
  std::vector<float> frequencies() const;

  double theta_;
  size_t pairs_;
  int64_t reserved_ = 0;
  spec::RopeScaling scaling_;
  std::vector<float> cosines_, sines_;
};

}  // namespace hydrofoil::inference
