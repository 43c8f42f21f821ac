// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/head_shares.h"

#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/even_share.h"

namespace hydrofoil::parallel {

std::vector<Range> even_parts(int64_t items, int ranks) {
  std::vector<Range> parts;
  for (int rank = 0; rank < ranks; ++rank) {
    const auto [begin, count] = even_share(items, rank, ranks);
    parts.push_back({begin, count});
  }
  return parts;
}

std::vector<int64_t> ring_tokens(const std::vector<Range>& parts, int neighbours) {
  std::vector<int64_t> tokens(parts.size() / static_cast<size_t>(neighbours));
  for (size_t r = 0; r < parts.size(); ++r)
    tokens[r / static_cast<size_t>(neighbours)] += parts[r].count;
  return tokens;
}

int ring_size(int64_t heads, int ranks) {
  int ring = 1;
  while (ranks % ring != 0 || ranks / ring > heads) ++ring;
  return ring;
}

std::vector<HeadShare> head_shares(int64_t heads, int64_t kv_heads, int neighbours) {
  if (heads < neighbours)
    throw Error(ExitCode::kConfig, std::to_string(heads) + " attention heads are fewer than the " +
                                       std::to_string(neighbours) + " ranks that share them");
  const int64_t group = heads / kv_heads;
  std::vector<HeadShare> shares;
  for (const auto& [begin, count] : even_parts(heads, neighbours)) {
    const int64_t first_kv = begin / group;
    shares.push_back({begin, count, first_kv, (begin + count - 1) / group + 1 - first_kv});
  }
  return shares;
}

SeamTraffic seam_traffic(const SeamShape& s, int rank) {
  const int ring = ring_size(s.heads, s.ranks), neighbours = s.ranks / ring;
  const auto parts = even_parts(s.length, s.ranks);
  const auto blocks = ring_tokens(parts, neighbours);
  const auto shares = head_shares(s.heads, s.kv_heads, neighbours);
  const auto block = static_cast<size_t>(rank / neighbours);
  const HeadShare& share = shares[static_cast<size_t>(rank % neighbours)];
  const int64_t own = parts[static_cast<size_t>(rank)].count, all = blocks[block];
  int64_t heads = -share.count, kv_heads = -share.kv_count;  // of the neighbours
  for (const auto& each : shares) heads += each.count, kv_heads += each.kv_count;
  // To this rank's heads come the tokens of the neighbours, to its tokens their heads.
  const auto to_heads = [&](int64_t of_rank) { return (all - own) * of_rank * s.head_dim; };
  const auto to_tokens = [&](int64_t of_others) { return own * of_others * s.head_dim; };
  SeamTraffic traffic{.exchanged = to_heads(share.count + 2 * share.kv_count) + to_tokens(heads),
                      .exchanged_back = to_heads(share.count) + to_tokens(heads + 2 * kv_heads)};
  int64_t before = 0;
  for (size_t b = 0; b < block; ++b) before += blocks[b];
  traffic.passed = before * 2 * share.kv_count * s.head_dim;
  const bool last = block + 1 == blocks.size();  // or the last one sends the gradient home
  traffic.passed_gradients = (before + (last ? 0 : all)) * 2 * share.kv_count * s.head_dim;
  return traffic;
}

}  // namespace hydrofoil::parallel
