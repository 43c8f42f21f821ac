// SPDX-License-Identifier: Apache-2.0
// The data movement of SharedBackend. S: full size, n: ranks. Per rank and call:
//   direct  reduce_scatter reads S, writes S/n; all_gather reads and writes S; all_reduce both
//   staged  the same plus one write and one read of what the peers need, in L2-sized chunks
#include <algorithm>
#include <cstring>

#include "hydrofoil/comm/backend/reduction.h"
#include "hydrofoil/comm/backend/shared/shared_backend.h"
#include "hydrofoil/kernels/reduce.h"

namespace hydrofoil::comm {
namespace {

constexpr size_t kOneStepBytes = 32 << 10;  // all_reduce: up to here every rank reduces everything
constexpr size_t kDirectFromBytes = 128 << 10;  // below, a second step costs more than staging
constexpr size_t kDirectChunkBytes = 2
                                     << 20;  // so that reduced parts are fetched from the L3 cache

void transfer(std::byte* to, const std::byte* from, size_t bytes, bool stream = false) {
  if (bytes && to != from) kernels::copy_bytes(to, from, bytes, stream);
}

// Room for one chunk of each rank in a stage: a multiple of the cache line.
size_t chunk_bytes(int ranks) {
  return kStageBytes / static_cast<size_t>(ranks) / 64 * 64;
}

}  // namespace

SharedBackend::Share SharedBackend::share_of(size_t bytes, size_t element, int rank) const {
  const size_t count = bytes / element, ranks = static_cast<size_t>(size());
  const size_t each = (count + ranks - 1) / ranks, r = static_cast<size_t>(rank);
  return {std::min(count, each * r) * element, std::min(count, each * (r + 1)) * element};
}

// source(r): where the values of rank r lie.
template <class Source>
void SharedBackend::reduce(std::byte* out, size_t bytes, Call& call, Reduce op, bool stream,
                           Source source) {
  if (bytes == 0) return;
  for (int r = 0; r < size(); ++r) sources_[static_cast<size_t>(r)] = source(r);
  const DType type = call.record.type;
  kernels::reduce_sources(out, sources_, bytes / size_of(type), type, kernel_of(op), stream);
}

void SharedBackend::do_all_reduce(Call& call, Buffer data, Reduce op) {
  if (data.bytes() <= kOneStepBytes) return all_reduce_small(call, data, op);
  const InPlace in_place(*this);
  if (enter_direct(call, data.data, data.bytes())) return all_reduce_direct(call, data, op);
  all_reduce_staged(call, data, op);
}

void SharedBackend::all_reduce_small(Call& call, Buffer data, Reduce op) {
  if (data.count) std::memcpy(stage(), data.data, data.bytes());
  enter(call);
  reduce(bytes_of(data), data.bytes(), call, op, false, [&](int r) { return staged(r); });
}

// In chunks: each rank reduces its share in place (peers read nothing else of its buffer), then
// fetches the shares of the others while they are still in cache.
void SharedBackend::all_reduce_direct(Call& call, Buffer data, Reduce op) {
  const size_t total = data.bytes(), element = size_of(data.type);
  const bool stream = total > kStreamFromBytes;
  for (size_t at = 0; at < total; at += kDirectChunkBytes) {
    const size_t chunk = std::min(kDirectChunkBytes, total - at);
    const Share own = share_of(chunk, element, rank());
    reduce(bytes_of(data) + at + own.begin, own.size(), call, op, false,
           [&](int r) { return peer(r) + at + own.begin; });
    step(call);
    for (int i = 1; i < size(); ++i) {
      const Share share = share_of(chunk, element, after(i));
      const size_t begin = at + share.begin;
      transfer(bytes_of(data) + begin, peer(after(i)) + begin, share.size(), stream);
    }
  }
  step(call);
}

// Two steps a chunk: stage everything, reduce the own share into the next stage, fetch the others.
void SharedBackend::all_reduce_staged(Call& call, Buffer data, Reduce op) {
  const size_t total = data.bytes(), element = size_of(data.type);
  const bool stream = total > kStreamFromBytes;
  for (size_t at = 0; at < total; at += kStageBytes) {
    const size_t chunk = std::min(kStageBytes, total - at);
    const Share own = share_of(chunk, element, rank());
    transfer(stage(), bytes_of(data) + at, chunk);
    step(call);
    reduce(stage(), own.size(), call, op, false, [&](int r) { return staged(r) + own.begin; });
    step(call);
    for (int i = 0; i < size(); ++i) {
      const Share share = share_of(chunk, element, after(i));
      transfer(bytes_of(data) + at + share.begin, staged(after(i)), share.size(), stream);
    }
  }
}

void SharedBackend::do_reduce_scatter(Call& call, ConstBuffer in, Buffer out, Reduce op) {
  if (in.bytes() < kDirectFromBytes) return reduce_scatter_staged(call, in, out, op);
  const InPlace in_place(*this);
  if (!enter_direct(call, in.data, in.bytes())) return reduce_scatter_staged(call, in, out, op);
  const size_t begin = static_cast<size_t>(rank()) * out.bytes();
  reduce(bytes_of(out), out.bytes(), call, op, in.bytes() > kStreamFromBytes,
         [&](int r) { return peer(r) + begin; });
  step(call);
}

void SharedBackend::reduce_scatter_staged(Call& call, ConstBuffer in, Buffer out, Reduce op) {
  const size_t chunk = chunk_bytes(size()), part_bytes = out.bytes();
  const bool stream = in.bytes() > kStreamFromBytes;
  bool entered = in.bytes() >= kDirectFromBytes;
  for (size_t at = 0; at < part_bytes || !entered; at += chunk) {
    const size_t n = std::min(chunk, part_bytes - at);
    const auto own = [&](int r) { return bytes_of(in) + static_cast<size_t>(r) * part_bytes + at; };
    for (int r = 0; r < size(); ++r)
      if (r != rank()) transfer(stage() + static_cast<size_t>(r) * chunk, own(r), n);
    entered ? step(call) : enter(call);
    entered = true;
    const size_t place = static_cast<size_t>(rank()) * chunk;
    reduce(bytes_of(out) + at, n, call, op, stream,
           [&](int r) { return r == rank() ? own(r) : staged(r) + place; });
  }
}

void SharedBackend::do_all_gather(Call& call, ConstBuffer in, Buffer out) {
  const size_t part_bytes = in.bytes();
  const bool stream = out.bytes() > kStreamFromBytes;
  transfer(bytes_of(out) + static_cast<size_t>(rank()) * part_bytes, bytes_of(in), part_bytes,
           stream);
  if (out.bytes() < kDirectFromBytes) return all_gather_staged(call, in, out);
  const InPlace in_place(*this);
  if (!enter_direct(call, in.data, part_bytes)) return all_gather_staged(call, in, out);
  for (int i = 1; i < size(); ++i)
    transfer(bytes_of(out) + static_cast<size_t>(after(i)) * part_bytes, peer(after(i)), part_bytes,
             stream);
  step(call);
}

void SharedBackend::all_gather_staged(Call& call, ConstBuffer in, Buffer out) {
  const size_t part_bytes = in.bytes();
  const bool stream = out.bytes() > kStreamFromBytes;
  bool entered = out.bytes() >= kDirectFromBytes;
  for (size_t at = 0; at < part_bytes || !entered; at += kStageBytes) {
    const size_t n = std::min(kStageBytes, part_bytes - at);
    transfer(stage(), bytes_of(in) + at, n);
    entered ? step(call) : enter(call);
    entered = true;
    for (int i = 1; i < size(); ++i)
      transfer(bytes_of(out) + static_cast<size_t>(after(i)) * part_bytes + at, staged(after(i)), n,
               stream);
  }
}

void SharedBackend::do_all_to_all(Call& call, const AllToAll& data) {
  const InPlace in_place(*this);
  uint64_t* counts = mine().counts(step_ % 2);
  std::copy(data.send_counts.begin(), data.send_counts.end(), counts);
  const bool direct = enter_direct(call, data.in.data, data.in.bytes());
  const size_t longest = check_counts(call, data);
  if (direct) return all_to_all_direct(call, data);
  all_to_all_staged(call, data, longest * size_of(data.in.type));
}

// Every rank sees what all send: it checks what it gets and knows the longest message.
size_t SharedBackend::check_counts(const Call& call, const AllToAll& data) {
  uint64_t longest = 0;
  for (int r = 0; r < size(); ++r) {
    const uint64_t* counts = part(r).counts((step_ - 1) % 2);
    longest = std::max(longest, *std::max_element(counts, counts + size()));
    const uint64_t sent = counts[rank()], expected = data.recv_counts[static_cast<size_t>(r)];
    if (sent != expected)
      fabric_->fail(ExitCode::kError,
                    fabric_->label(world_rank(r)) + " sends " + std::to_string(sent) +
                        " elements to " + fabric_->label(fabric_->rank()) + ", which expects " +
                        std::to_string(expected) + " in " + describe_in_full(call.record));
  }
  return longest;
}

void SharedBackend::all_to_all_direct(Call& call, const AllToAll& data) {
  const size_t element = size_of(data.in.type);
  std::byte* out = bytes_of(data.out);
  for (int r = 0; r < size(); ++r) {
    const uint64_t* counts = part(r).counts((step_ - 1) % 2);
    size_t begin = 0;
    for (int before = 0; before < rank(); ++before) begin += counts[before];
    const size_t n = data.recv_counts[static_cast<size_t>(r)] * element;
    transfer(out, peer(r) + begin * element, n, data.out.bytes() > kStreamFromBytes);
    out += n;
  }
  step(call);
}

void SharedBackend::all_to_all_staged(Call& call, const AllToAll& data, size_t longest_bytes) {
  const size_t chunk = chunk_bytes(size()), element = size_of(data.in.type);
  for (size_t at = 0; at < longest_bytes; at += chunk) {
    const auto rest = [&](size_t count) {
      return std::min(chunk, count * element > at ? count * element - at : 0);
    };
    const std::byte* in = bytes_of(data.in) + at;
    for (size_t r = 0; r < data.send_counts.size(); ++r) {
      transfer(stage() + r * chunk, in, rest(data.send_counts[r]));
      in += data.send_counts[r] * element;
    }
    step(call);
    std::byte* out = bytes_of(data.out) + at;
    for (int r = 0; r < size(); ++r) {
      const size_t count = data.recv_counts[static_cast<size_t>(r)];
      transfer(out, staged(r) + static_cast<size_t>(rank()) * chunk, rest(count));
      out += count * element;
    }
  }
}

// Only the root's buffer has to be readable.
void SharedBackend::do_broadcast(Call& call, Buffer data, int root) {
  const InPlace in_place(*this);
  enter_direct(call, data.data, rank() == root ? data.bytes() : 0);
  const bool stream = data.bytes() > kStreamFromBytes;
  if (data.bytes() >= kDirectFromBytes && peer(root)) {
    if (rank() != root) transfer(bytes_of(data), peer(root), data.bytes(), stream);
    return step(call);
  }
  for (size_t at = 0; at < data.bytes(); at += kStageBytes) {
    const size_t n = std::min(kStageBytes, data.bytes() - at);
    if (rank() == root) transfer(stage(), bytes_of(data) + at, n);
    step(call);
    if (rank() != root) transfer(bytes_of(data) + at, staged(root), n, stream);
  }
}

}  // namespace hydrofoil::comm
