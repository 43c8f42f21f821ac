// SPDX-License-Identifier: Apache-2.0
// Batches of random tokens for tiny models, and a look at their parameters.
#pragma once

#include <ATen/ops/zeros.h>

#include <vector>

#include "hydrofoil/core/random.h"
#include "hydrofoil/models/program.h"
#include "hydrofoil/train/engine.h"

namespace hydrofoil::train {

constexpr int64_t kVocabulary = 97, kLength = 17;

// Sequences index * sequences .. of one endless order: what a batch holds does not depend on how
// it is divided.
inline models::Batch batch_at(int64_t index, int64_t sequences = 2) {
  at::Tensor tokens = at::zeros({sequences, kLength + 1}, at::kLong);
  const Philox random(7, RandomUse::kTest);
  auto* values = tokens.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < tokens.numel(); ++i)
    values[i] = static_cast<int64_t>(
        random.below(kVocabulary, static_cast<uint64_t>(index * tokens.numel() + i)));
  return {tokens.slice(1, 0, kLength).contiguous(), tokens.slice(1, 1).contiguous()};
}

// What operators see of a parameter.
inline std::vector<float> values_of(Engine& engine, const Engine::Place& place,
                                    const memory::TensorInfo& info) {
  const std::byte* base = engine.cache().pin(place.unit);
  const auto& layout = engine.cache().segments(place.unit)[place.segment].layout;
  const auto* from = reinterpret_cast<const float*>(
      base + engine.cache().segment_offset_bytes(place.unit, place.segment));
  std::vector<float> values(from + layout.offset(place.index),
                            from + layout.offset(place.index) + info.numel());
  engine.cache().unpin(place.unit);
  return values;
}

}  // namespace hydrofoil::train
