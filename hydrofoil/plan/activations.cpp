// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/activations.h"

#include <algorithm>

namespace hydrofoil::plan {
namespace {

constexpr int64_t kElementBytes = 4;
// models::linear_cross_entropy works through rows in chunks of this many bytes of logits.
constexpr int64_t kChunkBytes = 32 << 20;
constexpr int64_t kLeastRows = 32;

int64_t norm_elements(const spec::ModelSpec& s) {
  return s.norm == spec::Norm::kLayerNorm ? 2 * s.hidden_size + 2 : 3 * s.hidden_size + 1;
}

int64_t chunk_rows(int64_t rows, int64_t vocabulary) {
  const int64_t most = std::max(kLeastRows, kChunkBytes / (vocabulary * kElementBytes));
  const int64_t chunks = std::max<int64_t>(1, (rows + most - 1) / most);
  return (rows + chunks - 1) / chunks;
}

}  // namespace

int64_t layer_elements_per_token(const spec::ModelSpec& s) {
  const int64_t queries = s.heads * s.head_dim, keys = s.kv_heads * s.head_dim;
  return 2 * norm_elements(s) + 2 * queries + 2 * keys + s.heads +
         (s.gated_mlp ? 4 : 2) * s.intermediate_size;
}

uint64_t activation_bytes(const spec::ModelSpec& s, int64_t micro_batch, int64_t sequence_length,
                          bool recompute) {
  const int64_t tokens = micro_batch * sequence_length, hidden = s.hidden_size;
  const int64_t layer = layer_elements_per_token(s);
  // The head's norm hands its output to the loss, which keeps gradients instead.
  const int64_t head = norm_elements(s) - hidden;
  const int64_t saved = s.layers * (recompute ? hidden : layer) + head;
  const int64_t head_matrix = s.vocab_size * hidden;

  const int64_t at_loss =
      (saved + 2 * hidden) * tokens + head_matrix + chunk_rows(tokens, s.vocab_size) * s.vocab_size;

  // Backward of the last layer's down projection (its input's and its weight's gradient), or of the
  // product of a gated one. A recomputed layer shares its input and has made its output again. A
  // tied head's gradient waits for the embedding's.
  const int64_t down_weight = s.intermediate_size * hidden;
  const int64_t down = s.intermediate_size * tokens + down_weight;
  const int64_t product = s.gated_mlp ? 2 * s.intermediate_size * tokens : 0;
  const int64_t at_layer = (saved - head + hidden + (recompute ? layer : 0)) * tokens +
                           std::max(down, product) + (s.tied_head ? head_matrix : 0);

  const int64_t at_embedding = (s.tied_head ? 2 : 1) * head_matrix + hidden * tokens;
  return static_cast<uint64_t>(std::max({at_loss, at_layer, at_embedding}) * kElementBytes);
}

}  // namespace hydrofoil::plan
