// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/activations.h"

#include <algorithm>

#include "hydrofoil/spec/loss_pieces.h"
#include "hydrofoil/spec/units.h"

namespace hydrofoil::plan {
namespace {

constexpr int64_t kElementBytes = 4;

int64_t norms_of_layer(const spec::ModelSpec& s) {
  if (s.norm_placement == spec::NormPlacement::kAround) return 4;
  return s.residual == spec::Residual::kParallelOneNorm ? 1 : 2;
}

// Norms keep their input, two of the same keep it once. Products do not keep what a norm gives, but
// where it is a layer's output.
int64_t norm_elements(const spec::ModelSpec& s) {
  const bool gives_output = s.norm_placement == spec::NormPlacement::kAfter;
  const int64_t inputs =
      s.residual == spec::Residual::kSequential ? norms_of_layer(s) : norms_of_layer(s) - 1;
  return (std::max<int64_t>(1, inputs) + (gives_output ? 1 : 0)) * s.hidden_size;
}

// Copies of what they scale and shift by, of a layer.
int64_t norm_copies(const spec::ModelSpec& s) {
  const bool shifts = s.norm == spec::Norm::kLayerNorm;
  const bool feed_sums = s.norm_placement == spec::NormPlacement::kAround;    // half of them
  const bool gives_output = s.norm_placement == spec::NormPlacement::kAfter;  // the second
  return norms_of_layer(s) / (feed_sums || gives_output ? 2 : 1) * (shifts ? 2 : 1) * s.hidden_size;
}

int64_t attention_elements(const spec::ModelSpec& s) {
  const int64_t queries = s.heads * s.head_dim, keys = s.kv_heads * s.head_dim;
  int64_t kept = 2 * queries + 2 * keys + s.heads;
  // Capped scores: keys and values of every query head, no log-sum-exp.
  if (s.attention_softcap != 0) kept = 4 * queries;
  // Values are part of the fused weight's output, which stays as a whole beside turned queries.
  if (s.fused_qkv && s.positions == spec::Positions::kRotary) kept += queries + keys;
  if (s.qk_norm) kept += queries + keys;
  return kept;
}

// What goes into the activation.
int64_t mlp_elements(const spec::ModelSpec& s) {
  return (s.gated_mlp ? 2 : 1) * s.intermediate_size;
}

// Backward of the down projection: its input, made again, and its weight's gradient; then its
// input's gradient beside those that the activation makes of it.
int64_t mlp_backward_elements(const spec::ModelSpec& s, int64_t tokens) {
  const int64_t activation = (s.gated_mlp ? 3 : 2) * tokens;
  return s.intermediate_size * std::max(tokens + s.hidden_size, activation);
}

// Gradients of all weights, added up, and of one chunk: of the down projection beside what the
// activation takes and makes, then of all beside the gradients of the first product.
int64_t chunked_mlp_elements(const spec::ModelSpec& s, int64_t rows) {
  const int64_t matrix = s.intermediate_size * s.hidden_size;
  const int64_t weights = (s.gated_mlp ? 3 : 2) * matrix;
  const int64_t activation = mlp_elements(s) + (s.gated_mlp ? 3 : 2) * s.intermediate_size;
  return weights + std::max(matrix + activation * rows,
                            weights + (s.intermediate_size + 2 * s.hidden_size) * rows);
}

// Elements of one layer that are not so many a token: copies of a norm's parameters; scores
// [B, heads, T, T] where they are capped, else a mask [T, T] as fp32. Of the heads of one rank.
int64_t fixed_elements(const spec::ModelSpec& s, int64_t layer, int64_t heads, int64_t micro_batch,
                       int64_t length) {
  const int64_t copies = norm_copies(s);
  if (s.attention_softcap != 0) return copies + 2 * micro_batch * heads * length * length;
  const int64_t window = s.window_of(layer);
  return copies + (window > 0 && window < length ? length * length : 0);
}

// What models::LateWeights keeps of a layer, a token: what its products took, and the gradients of
// what they gave. Feed-forwards in chunks put nothing off.
int64_t put_off_elements(const spec::ModelSpec& s, bool in_chunks) {
  const int64_t queries = s.heads * s.head_dim, keys = s.kv_heads * s.head_dim;
  const int64_t attention = 2 * s.hidden_size + 2 * queries + 2 * keys;
  if (in_chunks) return attention;
  return attention + 2 * s.hidden_size + (s.gated_mlp ? 3 : 2) * s.intermediate_size;
}

// Of the embedding and the head, a token: what their norms and projections keep.
int64_t ends_elements(const spec::ModelSpec& s) {
  int64_t kept = s.embedding_norm ? s.hidden_size : 0;
  // The head's norm hands its output to the loss, which keeps gradients instead.
  if (s.final_norm) kept += s.hidden_size;
  if (s.token_size() != s.hidden_size) kept += s.token_size() + s.hidden_size;
  return kept;
}

// Rows of the vocabulary's matrix that are used at a time.
int64_t largest_tile(const spec::ModelSpec& s, int64_t unit_elements) {
  if (unit_elements == 0) return s.vocab_size;
  const auto blocks = spec::tiled_blocks(s, unit_elements);
  int64_t most = 0;
  for (const auto& parameter : blocks.front().parameters)
    if (parameter.part == spec::Part::kTokens) most = std::max(most, parameter.shape[0]);
  return most;
}

}  // namespace

int64_t layer_elements_per_token(const spec::ModelSpec& s) {
  return norm_elements(s) + attention_elements(s) + mlp_elements(s);
}

uint64_t activation_bytes(const spec::ModelSpec& s, const Pass& pass) {
  const auto& [micro_batch, sequence_length, recompute, unit_elements, mlp_rows, in_files,
               sequence_ranks, part] = pass;
  const auto share = [ranks = sequence_ranks](int64_t n) { return (n + ranks - 1) / ranks; };
  const int64_t tokens = micro_batch * share(sequence_length);
  const int64_t hidden = s.hidden_size;
  const bool in_chunks = mlp_rows > 0 && mlp_rows < tokens;  // a feed-forward keeps its input alone
  // What attention gives is kept for its own backward as some heads, and for what follows as all.
  const int64_t twice = sequence_ranks > 1 ? s.heads * s.head_dim : 0;
  const int64_t layer =
      layer_elements_per_token(s) + twice - (in_chunks ? mlp_elements(s) - hidden : 0);
  const int64_t layers = part.layers > 0 ? part.layers : s.layers;
  const int64_t ends = part.embedding || part.head ? ends_elements(s) : 0;
  int64_t fixed = 0, largest_fixed = 0;
  for (int64_t i = 0; i < layers; ++i) {
    const int64_t elements = fixed_elements(s, i, share(s.heads), micro_batch, sequence_length);
    fixed += elements;
    largest_fixed = std::max(largest_fixed, elements);
  }
  // Layers share ALiBi's bias.
  const int64_t shared =
      s.positions == spec::Positions::kAlibi ? s.heads * sequence_length * sequence_length : 0;
  const int64_t inputs = recompute && in_files ? 1 : layers;
  const int64_t saved = inputs * (recompute ? hidden : layer) + ends;
  const int64_t saved_fixed = shared + (recompute ? 0 : fixed);
  const int64_t rows = largest_tile(s, unit_elements);
  const int64_t head_matrix = rows * s.token_size();
  const int64_t slice = std::min(rows, spec::head_gradient_rows(s.token_size())) * s.token_size();
  const int64_t chunk = spec::loss_rows(tokens, rows) * rows;
  // What waits for the embedding's gradient, to be added to it; of tiles nothing does.
  const bool waits = s.tied_head && part.embedding && part.head && rows == s.vocab_size;
  const int64_t waiting = waits ? head_matrix : 0;

  const int64_t at_loss = !part.head
                              ? 0
                              : (saved + 2 * s.token_size()) * tokens + saved_fixed + head_matrix +
                                    slice + (s.logit_softcap != 0 ? 2 : 1) * chunk;

  // Backward of the last layer's feed-forward. A recomputed layer has its output besides, and
  // shares its input with what is saved. A tied head's gradient waits for the embedding's.
  const int64_t at_mlp = in_chunks ? chunked_mlp_elements(s, mlp_rows) + hidden * tokens
                                   : mlp_backward_elements(s, tokens);
  const int64_t at_layer = (saved - ends + hidden + (recompute ? layer : 0)) * tokens +
                           saved_fixed + (recompute ? largest_fixed : 0) + at_mlp + waiting;

  const int64_t at_embedding =
      part.embedding ? waiting + head_matrix + hidden * tokens + shared : 0;
  // Micro-batches that wait for their backward, those of which only gradients of weights are left,
  // and what arrives and leaves meanwhile.
  const int64_t put_off =
      std::max<int64_t>(0, put_off_elements(s, in_chunks) - (recompute ? hidden : layer)) * layers *
      tokens;
  const int64_t others =
      ((part.kept - 1) * ((saved + hidden) * tokens + saved_fixed) + part.put_off * put_off) /
      part.chunks;
  const int64_t moving = part.layers > 0 ? 2 * hidden * tokens : 0;
  return static_cast<uint64_t>((std::max({at_loss, at_layer, at_embedding}) + others + moving) *
                               kElementBytes);
}

}  // namespace hydrofoil::plan
