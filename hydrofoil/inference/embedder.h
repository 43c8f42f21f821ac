// SPDX-License-Identifier: Apache-2.0
// Texts as vectors: the mean of an encoder's last hidden states over a text's tokens, of length 1.
//
//   const PackedModel encoder = pack_encoder(spec, reader);
//   Embedder embedder(encoder, team);
//   const auto vectors = embedder.embed(texts);        // dot products are cosines
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/runner.h"
#include "hydrofoil/inference/team.h"

namespace hydrofoil::inference {

class Embedder {
 public:
  // Keeps references.
  Embedder(const PackedModel& encoder, Team& team);

  int64_t positions() const { return positions_; }  // of a text at most
  // [texts][hidden_size]. Texts are tokens with the template's around them. What a text gets does
  // not depend on the others. Error(kData) for one that is empty or too long.
  std::vector<std::vector<float>> embed(std::span<const std::vector<int32_t>> texts);

 private:
  const size_t width_;
  const int64_t positions_;
  KvCache cache_;  // of the texts of a step
  Runner runner_;
};

}  // namespace hydrofoil::inference
