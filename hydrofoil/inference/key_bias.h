// SPDX-License-Identifier: Apache-2.0
// What ALiBi (Press et al. 2021) adds to the scores of each key, head by head.
#pragma once

#include <cstddef>
#include <vector>

#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::inference {

class KeyBias {
 public:
  explicit KeyBias(const spec::ModelSpec& spec);

  // Makes room for so many keys, and at least twice as many when it has to.
  void reserve(size_t keys);
  size_t bytes() const { return bias_.size() * sizeof(float); }
  static size_t bytes_of(const spec::ModelSpec& spec, size_t keys);  // at most
  // From a key on, to the end of its chunk of attention; null for models that have none.
  const float* of_head(size_t head, size_t first_key) const {
    return slopes_.empty() ? nullptr : bias_.data() + head * keys_ + first_key;
  }

 private:
  static size_t room_for(size_t keys);
  float of(float slope, size_t key) const;

  bool in_bfloat16_;
  float scale_ = 1;
  std::vector<float> slopes_, bias_;
  size_t keys_ = 0;
};

}  // namespace hydrofoil::inference
