// SPDX-License-Identifier: Apache-2.0
// The part of a model that each of several ranks holds that share its matrices (tensor
// parallelism): as data.
//
//   const TensorPart second{.rank = 1, .ranks = 2};
//   part_of(spec, second);        // its sizes: half the heads, of the feed-forward, of the
//   vocabulary blocks_of(spec, second);      // its parameters, and of each the box of the logical
//   tensor
//
// Cut by rows of what products give: queries, keys, values, gate, up, and the vocabulary's
// matrices; by columns, so that what ranks make of it adds up: attention's output, down. All else,
// and the biases of what is cut by columns, every rank has as a whole. Sizes need not come out
// even.
//
// Heads go to ranks together with the keys and values they look at, as evenly as these allow. Where
// there are fewer of those than ranks, each rank has the heads of one, and ranks share it. So
// queries for each key are as many on a rank as in the model, and the part is a model like any
// other.
#pragma once

#include <cstdint>
#include <vector>

#include "hydrofoil/core/even_share.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::spec {

struct TensorPart {
  int rank = 0, ranks = 1;
  friend bool operator==(const TensorPart&, const TensorPart&) = default;
};

struct HeadRange {
  int64_t first = 0, count = 0;
  int64_t first_kv = 0, kv_count = 0;
  bool kv_replica = false;  // a rank before this one has the same key-value head
};
HeadRange heads_of(const ModelSpec& spec, TensorPart part);
// Ranks with the key-value heads of this one.
int kv_sharers(const ModelSpec& spec, TensorPart part);
EvenShare vocabulary_of(const ModelSpec& spec, TensorPart part);

// The most ranks that can share a model's matrices: every one needs a head.
int64_t most_tensor_ranks(const ModelSpec& spec);

// The sizes of one rank. Error(kConfig) for more ranks than can share.
ModelSpec part_of(const ModelSpec& spec, TensorPart part);
// blocks(spec) in the shapes of one rank, with boxes.
std::vector<BlockSpec> blocks_of(const ModelSpec& spec, TensorPart part);

}  // namespace hydrofoil::spec
