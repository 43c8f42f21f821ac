// SPDX-License-Identifier: Apache-2.0
// Weights that tests/models/make_families.py makes from a parameter's name, without tensors.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "hydrofoil/inference/model_reader.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::test {

class MadeReader final : public inference::ModelReader {
 public:
  explicit MadeReader(const spec::ModelSpec& spec) {
    for (const auto& block : spec::blocks(spec))
      for (const auto& parameter : block.parameters) around_[parameter.name] = is_gain(parameter);
  }
  void read(const std::string& name, size_t begin, std::span<float> out) const override {
    const uint64_t seed = fnv1a(name);
    const float around = around_.at(name) ? 1.0f : 0.0f;
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<float>(mix(seed, begin + i)) * 0x1p-25f - 0.25f + around;
  }

 private:
  static bool is_gain(const spec::ParameterSpec& p) { return p.shape.size() == 1 && !p.bias; }
  static uint64_t fnv1a(const std::string& name) {
    uint64_t hash = 0xcbf29ce484222325;
    for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3;
    return hash;
  }
  // splitmix64, its upper 24 bits.
  static uint32_t mix(uint64_t seed, uint64_t index) {
    uint64_t z = seed + index * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<uint32_t>((z ^ (z >> 31)) >> 40);
  }

  std::map<std::string, bool> around_;
};

}  // namespace hydrofoil::test
