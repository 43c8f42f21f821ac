// SPDX-License-Identifier: Apache-2.0
// Batches of random tokens for tiny models.
#pragma once

#include <ATen/ops/zeros.h>

#include "hydrofoil/core/random.h"
#include "hydrofoil/models/program.h"

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

}  // namespace hydrofoil::train
