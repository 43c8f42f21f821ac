// SPDX-License-Identifier: Apache-2.0
// Collectives by messages: one engine for every messaging library.
//
// Each call begins with a header to and from every member (what the call is, and what it was named
// like): ranks that do different things are found before any data is lost. Then the data goes
// straight to where it is needed, by messages or, where the transport has such a way, in bulk. S:
// full size, N: ranks; a rank sends and receives
//   reduce_scatter, all_gather (N-1)/N S; all_reduce twice that; the ring's volume in one hop,
// and sums what it has received in the order of the ranks, so the bits are those of shared memory.
// A window is read by asking its owner's service: the owner's own threads need not take part.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hydrofoil/comm/backend.h"
#include "hydrofoil/comm/backend/message/message_world.h"

namespace hydrofoil::comm {

class MessageBackend final : public Backend {
 public:
  // world_ranks: by rank of the group; number: the same in all members, of no other group of
  // theirs.
  MessageBackend(std::shared_ptr<MessageWorld> world, std::string name,
                 std::vector<int> world_ranks, uint32_t number);

  void do_all_reduce(Call& call, Buffer data, Reduce op) override;
  void do_reduce_scatter(Call& call, ConstBuffer in, Buffer out, Reduce op) override;
  void do_all_gather(Call& call, ConstBuffer in, Buffer out) override;
  void do_all_to_all(Call& call, const AllToAll& data) override;
  void do_broadcast(Call& call, Buffer data, int root) override;
  void do_send(Call& call, ConstBuffer data, int to) override;
  void do_recv(Call& call, Buffer data, int from) override;
  void do_barrier(Call& call) override { enter(call); }
  std::unique_ptr<Backend> do_split(Call& call, int color, int key, std::string name) override;
  std::unique_ptr<WindowPart> do_window(Call& call, size_t bytes) override;

  SharedBytes alloc(size_t bytes) override;
  void check() override { world_->check(); }
  void abort(std::string_view reason) override;
  FlightRing& calls() override { return world_->calls(); }
  std::vector<CallRecord> recent_calls(int rank) const override;

  // For those who build on it: compares the call with these ranks', moves bytes to and from one.
  void agree(Call& call, std::span<const int> ranks);
  void give(Call& call, int to, const void* data, size_t bytes);
  void take(Call& call, int from, void* data, size_t bytes);
  // A window over memory of this rank that `readers` (ranks of the group, this one among them or
  // not) read by messages. Collective, as do_window.
  std::unique_ptr<WindowPart> window_over(Call& call, SharedBytes memory, std::vector<int> readers);
  // The text of every rank, of up to 255 bytes. Enters.
  std::vector<std::string> gather_texts(Call& call, const std::string& mine);
  const std::shared_ptr<MessageWorld>& world() const { return world_; }
  int world_rank(int rank) const { return world_ranks_[static_cast<size_t>(rank)]; }

 private:
  struct Header {
    CallRecord record;
    uint64_t signature = 0;
    uint64_t count = 0;  // elements that follow to this peer; all_to_all only
  };

  // Compares the call with the peers'. counts: elements for each of them, or empty.
  std::vector<Header> enter(Call& call, std::span<const size_t> counts = {});
  std::vector<Header> compare(Call& call, std::span<const int> peers,
                              std::span<const size_t> counts);
  [[noreturn]] void mismatch(const Call& call, int rank, const CallRecord& theirs);
  // parcel(rank) for each peer (all others where none are given); all at once, returns when all are
  // done. By messages, or where a way is given by that.
  template <class ParcelOf>
  void exchange(Call& call, std::span<const int> peers, Bulk* way, ParcelOf parcel);
  template <class ParcelOf>
  void exchange(Call& call, Bulk* way, ParcelOf parcel) {
    exchange(call, peers_, way, parcel);
  }
  template <class ParcelOf>
  void exchange(Call& call, ParcelOf parcel) {
    exchange(call, peers_, nullptr, parcel);
  }
  // The way for a collective of so many bytes, which all ranks know alike; null: messages.
  Bulk* way_for(Call& call, size_t bytes);
  uint32_t agree_on_number(Call& call);  // enters
  template <class T>
  std::vector<T> gather(Call& call, const T& mine);  // enters
  std::byte* scratch(size_t bytes);
  // out[i] = own[i] and every peer's values, which lie in the scratch `stride` apart, in the order
  // of the ranks. out may be own.
  void reduce(std::byte* out, const std::byte* own, size_t stride, size_t count, DType type,
              Reduce op);
  // One message to or from a rank; none where there are no bytes.
  void put(Call& call, int to, uint32_t channel, const void* data, size_t bytes);
  void get(Call& call, int from, uint32_t channel, void* data, size_t bytes);
  uint32_t data_channel() const { return 2 * number_; }
  uint32_t pair_channel() const { return 2 * number_ + 1; }

  std::shared_ptr<MessageWorld> world_;
  std::vector<int> world_ranks_;
  std::vector<int> peers_;  // the others, from the next one on
  uint32_t number_;
  std::vector<std::byte> scratch_;
  std::unique_ptr<Bulk> bulk_;  // opened by the first call that uses it
};

// Where a process runs. Processes of one host can share memory: same kernel, same network namespace
// (the rendezvous of shared memory has its names in one).
struct Place {
  int pid = 0;
  std::string host;   // its name
  std::string token;  // of the kernel and namespace
};

// All ranks of a transport as the group "world", and where they run. Collective.
struct MessageJob {
  std::unique_ptr<MessageBackend> backend;
  std::vector<Place> places;  // by rank
};
MessageJob join_by_messages(std::unique_ptr<Transport> transport, MessageOptions options);

}  // namespace hydrofoil::comm
