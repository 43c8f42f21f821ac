// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/parallel/sequence.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include <cmath>

#include "hydrofoil/core/error.h"
#include "hydrofoil/models/attention.h"
#include "hydrofoil/parallel/head_shares.h"
#include "hydrofoil/parallel/ring.h"
#include "hydrofoil/parallel/ulysses.h"

namespace hydrofoil::parallel {
namespace {

using models::Attention;

// By head of the share: whose keys and values it looks at, among those of the share.
at::Tensor kv_of_head(const HeadShare& share, int64_t group, const at::Tensor& like) {
  const auto heads = at::arange(share.first, share.first + share.count,
                                at::TensorOptions().dtype(at::kLong).device(like.device()));
  return heads.floor_divide(group) - share.first_kv;
}

void require_plain(const Attention& a, int64_t length, const at::Tensor& like) {
  if (a.softcap == 0 && !(a.visibility && a.visibility->mask(length, like).defined())) return;
  throw Error(ExitCode::kConfig,
              "keys and values cannot go round a ring where attention has windows, ALiBi or caps",
              "mesh.sp", "use no more ranks than the model has heads");
}

double scale_of(const Attention& a) {
  return a.scale != 0 ? a.scale : 1 / std::sqrt(static_cast<double>(a.head_dim));
}

}  // namespace

models::Batch part_of(const models::Batch& whole, int rank, int ranks) {
  if (ranks == 1) return whole;
  const int64_t length = whole.tokens.size(1);
  const auto [begin, count] = even_parts(length, ranks)[static_cast<size_t>(rank)];
  models::Batch part = whole;
  part.tokens = whole.tokens.narrow(1, begin, count);
  part.labels = whole.labels.narrow(1, begin, count);
  part.part = {.first = begin, .length = length};
  return part;
}

SequenceAxis::SequenceAxis(const comm::Communicator& group, int ring)
    : heads_(group.split(group.rank() / (group.size() / ring), group.rank(), "heads")),
      ring_(group.split(group.rank() % (group.size() / ring), group.rank(), "ring")) {}

at::Tensor SequenceAxis::mix(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const Attention& a, const models::SequencePart& part) const {
  const int64_t length = part.whole(q.size(1)), group = a.heads / a.kv_heads;
  const auto shares = head_shares(a.heads, a.kv_heads, heads_.size());
  const HeadShare& own = shares[static_cast<size_t>(heads_.rank())];
  const auto parts = even_parts(length, heads_.size() * ring_.size());
  Exchange queries{.group = heads_, .tokens = {}, .heads = {}};
  for (int r = 0; r < heads_.size(); ++r)
    queries.tokens.push_back(parts[static_cast<size_t>(ring_.rank() * heads_.size() + r)].count);
  Exchange keys = queries;
  for (const auto& share : shares) {
    queries.heads.push_back({share.first, share.count});
    keys.heads.push_back({share.first_kv, share.kv_count});
  }
  const auto mine = to_heads(queries, q);
  auto kv = to_heads(keys, at::cat({k, v}, 3));
  const bool ring = ring_.size() > 1;
  if (ring) require_plain(a, length, q);
  if (!ring && (own.first % group != 0 || own.count % group != 0))
    kv = kv.index_select(2, kv_of_head(own, group, q));
  const auto half = [&](int64_t which) { return kv.narrow(3, which * a.head_dim, a.head_dim); };
  const auto mixed =
      ring ? ring_attention({.group = ring_,
                             .tokens = ring_tokens(parts, heads_.size()),
                             .kv_of_head = group > 1 ? kv_of_head(own, group, q) : at::Tensor(),
                             .scale = scale_of(a)},
                            mine, kv)
           : models::mix_heads(mine, half(0), half(1), a, own.first);
  return to_tokens(queries, mixed, a.heads);
}

}  // namespace hydrofoil::parallel
