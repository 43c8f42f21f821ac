// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/message/message_backend.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <utility>

#include "hydrofoil/comm/backend/local_memory.h"
#include "hydrofoil/comm/backend/message/message_window.h"
#include "hydrofoil/comm/backend/reduction.h"

namespace hydrofoil::comm {
namespace {

constexpr size_t kOneHopBytes = 4 << 10;  // all_reduce: up to here everybody gets everything
constexpr size_t kChunkBytes = 8 << 20;   // of S: bounds what a reduction needs beside its buffers
constexpr size_t kBulkBytes = 64 << 10;   // from here on the faster way, where there is one

size_t at(int rank) {
  return static_cast<size_t>(rank);
}

}  // namespace

MessageBackend::MessageBackend(std::shared_ptr<MessageWorld> world, std::string name,
                               std::vector<int> world_ranks, uint32_t number)
    : Backend(std::move(name),
              static_cast<int>(std::find(world_ranks.begin(), world_ranks.end(), world->rank()) -
                               world_ranks.begin()),
              static_cast<int>(world_ranks.size())),
      world_(std::move(world)),
      world_ranks_(std::move(world_ranks)),
      number_(number) {
  for (int i = 1; i < size(); ++i) peers_.push_back((this->rank() + i) % size());
}

void MessageBackend::abort(std::string_view reason) {
  world_->record_failure(
      Error(ExitCode::kPeerFailed, std::string(reason), world_->label(world_->rank())));
}

std::vector<CallRecord> MessageBackend::recent_calls(int rank) const {
  return world_->recent_calls(world_rank(rank));
}

SharedBytes MessageBackend::alloc(size_t bytes) {
  return local_memory(bytes);
}

std::byte* MessageBackend::scratch(size_t bytes) {
  if (scratch_.size() < bytes) scratch_.resize(bytes);
  return scratch_.data();
}

// Receives first, so that nothing arrives unexpected; then each rank begins with another peer.
template <class ParcelOf>
void MessageBackend::exchange(Call& call, std::span<const int> peers, Bulk* way, ParcelOf parcel) {
  if (way != nullptr) {
    std::vector<Parcel> parcels;
    for (const int r : peers) parcels.push_back(parcel(r));
    const auto transfer = way->exchange(std::move(parcels));
    // Whoever is lost is noticed by the messages: that names it, or ends this wait.
    return world_->finish(*transfer, world_rank(peers.front()), call);
  }
  struct UnderWay {
    std::unique_ptr<Transfer> transfer;
    int peer;
  };
  std::vector<UnderWay> all;
  Transport& transport = world_->transport();
  for (const int r : peers)
    if (const Parcel p = parcel(r); p.in_bytes)
      all.push_back({transport.receive(world_rank(r), data_channel(), p.in, p.in_bytes), r});
  for (const int r : peers)
    if (const Parcel p = parcel(r); p.out_bytes)
      all.push_back({transport.send(world_rank(r), data_channel(), p.out, p.out_bytes), r});
  std::exception_ptr first;  // every transfer must be over before its memory may go
  for (auto& [transfer, peer] : all) try {
      if (first) transfer->cancel();
      world_->finish(*transfer, world_rank(peer), call);
    } catch (...) {
      if (!first) first = std::current_exception();
    }
  if (first) std::rethrow_exception(first);
}

Bulk* MessageBackend::way_for(Call& call, size_t bytes) {
  Transport& transport = world_->transport();
  if (bytes < kBulkBytes || size() == 1 || !transport.has_bulk()) return nullptr;
  if (bulk_) return bulk_.get();
  Transport::BulkId id{};
  try {
    if (rank() == 0) id = transport.make_bulk_id();
    exchange(call, [&](int r) {
      Parcel parcel{.rank = r};
      auto* data = reinterpret_cast<std::byte*>(id.data());
      if (rank() == 0) parcel.out = data, parcel.out_bytes = id.size();
      if (r == 0) parcel.in = data, parcel.in_bytes = id.size();
      return parcel;
    });
    bulk_ = transport.open_bulk(id, rank(), size());
  } catch (const Error&) {
    throw;
  } catch (const std::runtime_error& error) {
    world_->fail(ExitCode::kError, world_->label(world_->rank()) + ": " + error.what());
  }
  return bulk_.get();
}

std::vector<MessageBackend::Header> MessageBackend::enter(Call& call,
                                                          std::span<const size_t> counts) {
  return compare(call, peers_, counts);
}

void MessageBackend::agree(Call& call, std::span<const int> ranks) {
  std::vector<int> others;
  std::copy_if(ranks.begin(), ranks.end(), std::back_inserter(others),
               [this](int r) { return r != rank(); });
  compare(call, others, {});
}

std::vector<MessageBackend::Header> MessageBackend::compare(Call& call, std::span<const int> peers,
                                                            std::span<const size_t> counts) {
  std::vector<Header> mine(at(size()), Header{call.record, call.signature}), theirs(at(size()));
  for (size_t r = 0; r < counts.size(); ++r) mine[r].count = counts[r];
  theirs[at(rank())] = mine[at(rank())];
  exchange(call, peers, nullptr, [&](int r) {
    return Parcel{r, reinterpret_cast<const std::byte*>(&mine[at(r)]), sizeof(Header),
                  reinterpret_cast<std::byte*>(&theirs[at(r)]), sizeof(Header)};
  });
  for (const int r : peers) {
    world_->heard(world_rank(r), theirs[at(r)].record);
    if (theirs[at(r)].signature != call.signature) mismatch(call, r, theirs[at(r)].record);
  }
  return theirs;
}

void MessageBackend::mismatch(const Call& call, int rank, const CallRecord& theirs) {
  world_->fail(ExitCode::kError,
               world_->label(world_rank(rank)) + " called " + describe_in_full(theirs) + " where " +
                   world_->label(world_->rank()) + " called " + describe_in_full(call.record));
}

template <class T>
std::vector<T> MessageBackend::gather(Call& call, const T& mine) {
  enter(call);
  std::vector<T> all(at(size()), mine);
  exchange(call, [&](int r) {
    return Parcel{r, reinterpret_cast<const std::byte*>(&mine), sizeof(T),
                  reinterpret_cast<std::byte*>(&all[at(r)]), sizeof(T)};
  });
  return all;
}

std::vector<std::string> MessageBackend::gather_texts(Call& call, const std::string& mine) {
  std::array<char, 256> text;
  set_text(text, mine);
  std::vector<std::string> texts;
  for (const auto& one : gather(call, text)) texts.emplace_back(one.data());
  return texts;
}

// --- collectives

void MessageBackend::reduce(std::byte* out, const std::byte* own, size_t stride, size_t count,
                            DType type, Reduce op) {
  if (count == 0) return;
  std::vector<const void*> sources;
  for (int r = 0; r < size(); ++r)
    sources.push_back(r == rank() ? own : scratch_.data() + at(r) * stride);
  kernels::reduce_sources(out, sources, count, type, kernel_of(op), false);
}

void MessageBackend::do_all_reduce(Call& call, Buffer data, Reduce op) {
  enter(call);
  Bulk* const way = way_for(call, data.bytes());
  const size_t element = size_of(data.type), n = at(size());
  const size_t chunk =
      data.bytes() <= kOneHopBytes ? data.bytes() : kChunkBytes / element * element;
  for (size_t begin = 0; begin < data.bytes(); begin += chunk) {
    const size_t bytes = std::min(chunk, data.bytes() - begin);
    std::byte* here = bytes_of(data) + begin;
    // In one hop each rank reduces everything, else its own share, which the others then get.
    const bool one_hop = data.bytes() <= kOneHopBytes;
    const size_t each = one_hop ? bytes : (bytes / element + n - 1) / n * element;
    const auto share = [&](int r) {
      const size_t first = one_hop ? 0 : std::min(bytes, at(r) * each);
      return std::pair(here + first, std::min(each, bytes - first));
    };
    std::byte* received = scratch(n * each);
    const auto [own, own_bytes] = share(rank());
    exchange(call, way, [&, own_size = own_bytes](int r) {
      return Parcel{r, share(r).first, share(r).second, received + at(r) * each, own_size};
    });
    reduce(own, own, each, own_bytes / element, data.type, op);
    if (one_hop) return;
    exchange(call, way, [&, from = own, own_size = own_bytes](int r) {
      return Parcel{r, from, own_size, share(r).first, share(r).second};
    });
  }
}

void MessageBackend::do_reduce_scatter(Call& call, ConstBuffer in, Buffer out, Reduce op) {
  enter(call);
  Bulk* const way = way_for(call, in.bytes());
  const size_t element = size_of(in.type), part = out.bytes();
  const size_t chunk = std::max<size_t>(1, kChunkBytes / at(size()) / element) * element;
  for (size_t begin = 0; begin < part; begin += chunk) {
    const size_t bytes = std::min(chunk, part - begin);
    const auto from = [&](int r) { return bytes_of(in) + at(r) * part + begin; };
    std::byte* received = scratch(at(size()) * bytes);
    exchange(call, way,
             [&](int r) { return Parcel{r, from(r), bytes, received + at(r) * bytes, bytes}; });
    reduce(bytes_of(out) + begin, from(rank()), bytes, bytes / element, in.type, op);
  }
}

void MessageBackend::do_all_gather(Call& call, ConstBuffer in, Buffer out) {
  enter(call);
  const size_t part = in.bytes();
  std::byte* own = bytes_of(out) + at(rank()) * part;
  if (part && own != in.data) std::memcpy(own, in.data, part);
  exchange(call, way_for(call, out.bytes()),
           [&](int r) { return Parcel{r, own, part, bytes_of(out) + at(r) * part, part}; });
}

void MessageBackend::do_all_to_all(Call& call, const AllToAll& data) {
  const auto headers = enter(call, data.send_counts);
  const size_t element = size_of(data.in.type);
  std::vector<size_t> sent(at(size()) + 1), received(at(size()) + 1);  // where each part begins
  for (size_t r = 0; r < at(size()); ++r) {
    if (headers[r].count != data.recv_counts[r])
      world_->fail(ExitCode::kError, world_->label(world_rank(static_cast<int>(r))) + " sends " +
                                         std::to_string(headers[r].count) + " elements to " +
                                         world_->label(world_->rank()) + ", which expects " +
                                         std::to_string(data.recv_counts[r]) + " in " +
                                         describe_in_full(call.record));
    sent[r + 1] = sent[r] + data.send_counts[r] * element;
    received[r + 1] = received[r] + data.recv_counts[r] * element;
  }
  const size_t me = at(rank());
  if (sent[me + 1] > sent[me])
    std::memcpy(bytes_of(data.out) + received[me], bytes_of(data.in) + sent[me],
                sent[me + 1] - sent[me]);
  exchange(call, [&](int rank) {
    const size_t r = at(rank);
    return Parcel{rank, bytes_of(data.in) + sent[r], sent[r + 1] - sent[r],
                  bytes_of(data.out) + received[r], received[r + 1] - received[r]};
  });
}

void MessageBackend::do_broadcast(Call& call, Buffer data, int root) {
  enter(call);
  exchange(call, way_for(call, data.bytes()), [&](int r) {
    Parcel parcel{.rank = r};
    if (rank() == root) parcel.out = bytes_of(data), parcel.out_bytes = data.bytes();
    if (r == root) parcel.in = bytes_of(data), parcel.in_bytes = data.bytes();
    return parcel;
  });
}

void MessageBackend::give(Call& call, int to, const void* data, size_t bytes) {
  put(call, to, data_channel(), data, bytes);
}

void MessageBackend::take(Call& call, int from, void* data, size_t bytes) {
  get(call, from, data_channel(), data, bytes);
}

void MessageBackend::put(Call& call, int to, uint32_t channel, const void* data, size_t bytes) {
  if (bytes == 0) return;
  const auto transfer = world_->transport().send(world_rank(to), channel, data, bytes);
  world_->finish(*transfer, world_rank(to), call);
}

void MessageBackend::get(Call& call, int from, uint32_t channel, void* data, size_t bytes) {
  if (bytes == 0) return;
  const auto transfer = world_->transport().receive(world_rank(from), channel, data, bytes);
  world_->finish(*transfer, world_rank(from), call);
}

// --- pairs

void MessageBackend::do_send(Call& call, ConstBuffer data, int to) {
  const Header header{call.record, call.signature, data.count};
  put(call, to, pair_channel(), &header, sizeof header);
  put(call, to, pair_channel(), data.data, data.bytes());
}

void MessageBackend::do_recv(Call& call, Buffer data, int from) {
  Header header;
  get(call, from, pair_channel(), &header, sizeof header);
  world_->heard(world_rank(from), header.record);
  if (header.count != data.count || header.record.type != data.type)
    world_->fail(ExitCode::kError,
                 world_->label(world_rank(from)) + " sent " + std::to_string(header.count) + " " +
                     std::string(name_of(header.record.type)) + " where " +
                     world_->label(world_->rank()) + " called " + describe_in_full(call.record));
  get(call, from, pair_channel(), data.data, data.bytes());
}

// --- groups

uint32_t MessageBackend::agree_on_number(Call& call) {
  uint32_t number = 0;
  for (const uint32_t next : gather(call, world_->next_number())) number = std::max(number, next);
  world_->use_numbers_from(number + 1);
  return number;
}

std::unique_ptr<Backend> MessageBackend::do_split(Call& call, int color, int key,
                                                  std::string name) {
  struct Wish {
    int color, key;
  };
  const uint32_t number = agree_on_number(call);  // groups that share it have no common member
  const auto wishes = gather(call, Wish{color, key});
  std::vector<int> ranks;
  for (int r = 0; r < size(); ++r)
    if (wishes[at(r)].color == color) ranks.push_back(r);
  std::stable_sort(ranks.begin(), ranks.end(),
                   [&](int a, int b) { return wishes[at(a)].key < wishes[at(b)].key; });
  for (int& r : ranks) r = world_rank(r);
  return std::make_unique<MessageBackend>(world_, std::move(name), std::move(ranks), number);
}

std::unique_ptr<WindowPart> MessageBackend::do_window(Call& call, size_t bytes) {
  std::vector<int> all(at(size()));
  std::iota(all.begin(), all.end(), 0);
  return window_over(call, local_memory(bytes), std::move(all));
}

std::unique_ptr<WindowPart> MessageBackend::window_over(Call& call, SharedBytes memory,
                                                        std::vector<int> readers) {
  const uint32_t number = agree_on_number(call);
  auto window = make_message_window(world_, number, std::move(memory),
                                    {rank(), world_ranks_, std::move(readers)});
  enter(call);  // nobody asks before all are ready to answer
  return window;
}

}  // namespace hydrofoil::comm
