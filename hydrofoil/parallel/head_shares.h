// SPDX-License-Identifier: Apache-2.0
// Who has which tokens and mixes which heads where sequences are cut (DeepSpeed-Ulysses, arXiv
// 2309.14509; with a ring beyond the heads, arXiv 2405.07719). Pure numbers.
#pragma once

#include <cstdint>
#include <vector>

namespace hydrofoil::parallel {

struct Range {
  int64_t begin = 0, count = 0;
  bool operator==(const Range&) const = default;
};

// Tokens, or heads, of each rank; the first have one more where it does not come out even.
std::vector<Range> even_parts(int64_t items, int ranks);
// Of the groups of so many neighbours, all tokens together.
std::vector<int64_t> ring_tokens(const std::vector<Range>& parts, int neighbours);

// Ranks of the ring: the smallest divisor of `ranks` that leaves no more neighbours than heads.
int ring_size(int64_t heads, int ranks);

// One rank's heads: `count` from `first` on, and the keys and values that these look at.
struct HeadShare {
  int64_t first = 0, count = 0;
  int64_t first_kv = 0, kv_count = 0;  // neighbours may need the same ones
  bool operator==(const HeadShare&) const = default;
};
// Of each neighbour: as many heads for all, the first taking one more where it does not come out
// even. Error(kConfig) for fewer heads than neighbours.
std::vector<HeadShare> head_shares(int64_t heads, int64_t kv_heads, int neighbours);

// Elements that a rank receives of its peers in the attention of one layer, for one sequence.
struct SeamTraffic {
  // Queries, keys and values of its heads, then all heads of its tokens. Backward receives what
  // forward sent: in sum over the ranks both are equal.
  int64_t exchanged = 0, exchanged_back = 0;
  // Keys and values that come round, forward and again backward; their gradients, in fp32.
  int64_t passed = 0, passed_gradients = 0;
};
struct SeamShape {
  int64_t heads = 1, kv_heads = 1, head_dim = 1;
  int64_t length = 1;  // of the sequence
  int ranks = 1;       // that share it
};
SeamTraffic seam_traffic(const SeamShape& shape, int rank);

}  // namespace hydrofoil::parallel
