// SPDX-License-Identifier: Apache-2.0
// The data movement of HierarchicalBackend. S: full size, H: hosts. Between hosts travel
//   all_reduce      S from each host to the next (fp32), then S from the last to each other
//   reduce_scatter  the same on the way there; back S/H to each
//   all_gather      each host's block to each other: S/H
#include <algorithm>
#include <cstring>

#include "hydrofoil/comm/backend/hierarchical/hierarchical_backend.h"
#include "hydrofoil/comm/backend/reduction.h"
#include "hydrofoil/kernels/convert.h"

namespace hydrofoil::comm {
namespace {

constexpr size_t kStripeBytes = 1 << 20;  // of a carrier at a time: bounds what a sum needs

std::byte* offset(Buffer b, size_t elements) {
  return static_cast<std::byte*>(b.data) + elements * size_of(b.type);
}
const std::byte* offset(ConstBuffer b, size_t elements) {
  return static_cast<const std::byte*>(b.data) + elements * size_of(b.type);
}

bool is_narrow(DType type) {
  return type == DType::kBF16 || type == DType::kF16;
}
// What sums are in between two hosts: they are rounded once, at the end.
DType sum_type(DType type) {
  return is_narrow(type) ? DType::kF32 : type;
}

std::byte* sized(std::vector<std::byte>& scratch, size_t bytes) {
  if (scratch.size() < bytes) scratch.resize(bytes);
  return scratch.data();
}

}  // namespace

HierarchicalBackend::Stripe HierarchicalBackend::stripe(size_t count, int lane) const {
  const auto lanes = static_cast<size_t>(lanes_), l = static_cast<size_t>(lane);
  const size_t each = (count + lanes - 1) / lanes, begin = std::min(count, l * each);
  return {begin, l < lanes ? std::min(each, count - begin) : 0};
}

void HierarchicalBackend::sum_towards_last(Call& call, ConstBuffer in, Reduce op) {
  const auto ranks = static_cast<size_t>(local_->size());
  const size_t mine = stripe(in.count, local_->rank()).count;
  std::vector<size_t> send(ranks), recv(ranks, mine);
  for (size_t r = 0; r < ranks; ++r) send[r] = stripe(in.count, static_cast<int>(r)).count;
  const Buffer pieces{sized(pieces_, ranks * mine * size_of(in.type)), ranks * mine, in.type};
  local_->do_all_to_all(call, {in, send, pieces, recv});
  if (mine == 0) return;
  const size_t bytes = mine * size_of(sum_type(in.type));
  std::byte* total = sized(total_, bytes);
  if (here_ > 0) between_->take(call, carrier(here_ - 1), total, bytes);
  add_own_host(pieces, op, here_ > 0);
  if (here_ + 1 < hosts_.size()) between_->give(call, carrier(here_ + 1), total, bytes);
}

// total_ = (total_ op) pieces of the ranks of this host, in their order.
void HierarchicalBackend::add_own_host(ConstBuffer pieces, Reduce op, bool begun) {
  const auto ranks = static_cast<size_t>(local_->size());
  const size_t count = pieces.count / ranks;
  const DType type = sum_type(pieces.type);
  const void* values = pieces.data;
  if (is_narrow(pieces.type)) {
    wide_.resize(std::max(wide_.size(), pieces.count));
    kernels::widen({static_cast<const uint16_t*>(pieces.data), pieces.count},
                   {wide_.data(), pieces.count}, pieces.type);
    values = wide_.data();
  }
  std::vector<const void*> sources;
  if (begun) sources.push_back(total_.data());
  for (size_t r = 0; r < ranks; ++r)
    sources.push_back(offset(ConstBuffer{values, ranks * count, type}, r * count));
  kernels::reduce_sources(total_.data(), sources, count, type, kernel_of(op), false);
}

const std::byte* HierarchicalBackend::total_as(DType type, size_t count) {
  if (!is_narrow(type)) return total_.data();
  std::byte* result = sized(result_, count * size_of(type));
  kernels::narrow({reinterpret_cast<const float*>(total_.data()), count},
                  {reinterpret_cast<uint16_t*>(result), count}, type);
  return result;
}

void HierarchicalBackend::spread(Call& call, size_t from_host, Buffer data, bool here_too) {
  const Stripe mine = stripe(data.count, local_->rank());
  std::byte* own = offset(data, mine.begin);
  const size_t bytes = mine.count * size_of(data.type);
  if (here_ != from_host)
    between_->take(call, carrier(from_host), own, bytes);
  else
    for (size_t h = 0; h < hosts_.size(); ++h)
      if (h != here_) between_->give(call, carrier(h), own, bytes);
  if (here_ == from_host && !here_too) return;
  for (int lane = 0; lane < lanes_; ++lane) {
    const Stripe s = stripe(data.count, lane);
    local_->do_broadcast(call, {offset(data, s.begin), s.count, data.type}, lane);
  }
}

void HierarchicalBackend::deliver(Call& call, int to, Buffer out) {
  const size_t last = hosts_.size() - 1, host = host_of(to);
  const size_t mine = stripe(out.count, local_->rank()).count;
  const size_t bytes = mine * size_of(out.type);
  const std::byte* own = nullptr;
  if (here_ == last && mine) own = total_as(out.type, mine);
  if (here_ == last && host != last && mine) between_->give(call, carrier(host), own, bytes);
  if (here_ != host) return;
  if (host != last && mine) {
    std::byte* received = sized(result_, bytes);
    between_->take(call, carrier(last), received, bytes);
    own = received;
  }
  const auto ranks = static_cast<size_t>(local_->size()),
             target = static_cast<size_t>(local_rank(to));
  std::vector<size_t> send(ranks), recv(ranks);
  send[target] = mine;
  const bool mine_is_it = to == rank();
  if (mine_is_it)
    for (size_t r = 0; r < ranks; ++r) recv[r] = stripe(out.count, static_cast<int>(r)).count;
  local_->do_all_to_all(
      call, {{own, mine, out.type}, send, {out.data, mine_is_it ? out.count : 0, out.type}, recv});
}

void HierarchicalBackend::do_all_reduce(Call& call, Buffer data, Reduce op) {
  const auto alone = [&](Backend& backend) { backend.do_all_reduce(call, data, op); };
  run(call, data.bytes(), alone, [&] {
    const size_t last = hosts_.size() - 1, element = size_of(data.type);
    const size_t chunk = kStripeBytes / element * static_cast<size_t>(lanes_);
    const auto for_chunks = [&](auto body) {
      for (size_t at = 0; at < data.count; at += chunk)
        body(Buffer{offset(data, at), std::min(chunk, data.count - at), data.type});
    };
    for_chunks([&](Buffer part) {  // the hosts work on different chunks at a time
      sum_towards_last(call, part, op);
      const Stripe mine = stripe(part.count, local_->rank());
      if (here_ == last && mine.count)
        std::memcpy(offset(part, mine.begin), total_as(data.type, mine.count),
                    mine.count * element);
    });
    for_chunks([&](Buffer part) { spread(call, last, part, true); });
  });
}

void HierarchicalBackend::do_reduce_scatter(Call& call, ConstBuffer in, Buffer out, Reduce op) {
  const auto alone = [&](Backend& backend) { backend.do_reduce_scatter(call, in, out, op); };
  run(call, in.bytes(), alone, [&] {
    const size_t chunk = kStripeBytes / size_of(in.type) * static_cast<size_t>(lanes_);
    for (int to = 0; to < size(); ++to)
      for (size_t at = 0; at < out.count; at += chunk) {
        const size_t count = std::min(chunk, out.count - at);
        const size_t begin = static_cast<size_t>(to) * out.count + at;
        sum_towards_last(call, {offset(in, begin), count, in.type}, op);
        deliver(call, to, {offset(out, at), count, out.type});
      }
  });
}

void HierarchicalBackend::do_all_gather(Call& call, ConstBuffer in, Buffer out) {
  const auto alone = [&](Backend& backend) { backend.do_all_gather(call, in, out); };
  run(call, out.bytes(), alone, [&] {
    const auto block = [&](const Host& host) {
      return Buffer{offset(out, static_cast<size_t>(host.first) * in.count),
                    static_cast<size_t>(host.size) * in.count, out.type};
    };
    local_->do_all_gather(call, in, block(hosts_[here_]));
    for (size_t h = 0; h < hosts_.size(); ++h) spread(call, h, block(hosts_[h]), false);
  });
}

void HierarchicalBackend::do_broadcast(Call& call, Buffer data, int root) {
  const auto alone = [&](Backend& backend) { backend.do_broadcast(call, data, root); };
  run(call, data.bytes(), alone, [&] {
    const size_t host = host_of(root);
    if (here_ == host) local_->do_broadcast(call, data, local_rank(root));
    spread(call, host, data, false);
  });
}

}  // namespace hydrofoil::comm
