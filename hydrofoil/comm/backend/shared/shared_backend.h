// SPDX-License-Identifier: Apache-2.0
// Collectives over memory that all ranks of a host read: one engine for threads and processes.
//
// A collective is a sequence of steps. In a step a rank publishes something (a staged chunk, or
// where its buffer lies), raises its phase, waits until the phases of all have caught up, and reads
// what the others published. Staging has two halves by the parity of the step: a peer in step k has
// consumed what step k-2 staged, so nothing is overwritten while it is read and no second barrier
// is needed.
//
// Buffers that lie in shared memory (alloc(), windows; with threads all memory) are read in place
// ("direct"): one step to publish, one to let go. Others are staged. Sums run over the ranks 0..n-1
// in either case, so the results are the same bits.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hydrofoil/comm/backend.h"
#include "hydrofoil/comm/backend/shared/fabric.h"
#include "hydrofoil/comm/backend/shared/group_part.h"

namespace hydrofoil::comm {

// Where the members of a group are.
struct Membership {
  std::vector<int> world_ranks;   // by rank of the group
  std::vector<std::byte*> parts;  // their GroupParts
  SharedBytes own;                // this rank's
};

class SharedBackend final : public Backend {
 public:
  SharedBackend(std::shared_ptr<Fabric> fabric, std::string name, int rank, Membership members);
  ~SharedBackend() override;

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

  SharedBytes alloc(size_t bytes) override { return fabric_->alloc(bytes); }
  void check() override { fabric_->check(); }
  void abort(std::string_view reason) override;
  FlightRing& calls() override { return fabric_->state(fabric_->rank()).calls; }
  std::vector<CallRecord> recent_calls(int rank) const override;
  const std::shared_ptr<Fabric>& fabric() const { return fabric_; }

 private:
  struct Share {  // of the bytes of a buffer, for one rank
    size_t begin, end;
    size_t size() const { return end - begin; }
  };

  // The first step of every call: compares what the ranks are doing and publishes a token.
  void enter(Call& call, uint64_t token = 0);
  void step(Call& call);
  [[noreturn]] void mismatch(const Call& call, int rank);
  // Held while peers' buffers may be read in place. A rank that fails meanwhile stays until its
  // peers have noticed: its caller may free the buffer that they read.
  class InPlace {
   public:
    explicit InPlace(SharedBackend& owner);
    ~InPlace();

   private:
    SharedBackend& owner_;
    int exceptions_;
  };
  // Enters, and tells whether the buffers of all can be read in place: at peer(r). Needs an
  // InPlace.
  bool enter_direct(Call& call, const void* data, size_t bytes);
  const std::byte* peer(int rank) const { return direct_[static_cast<size_t>(rank)]; }
  // One small value a rank. Enters.
  template <class T>
  std::vector<T> exchange(Call& call, const T& mine);

  std::byte* stage() const { return mine().stage(step_ % 2); }  // written before a step
  const std::byte* staged(int rank) const {                     // read after it
    return part(rank).stage((step_ - 1) % 2);
  }
  const GroupPart& part(int rank) const { return parts_[static_cast<size_t>(rank)]; }
  const GroupPart& mine() const { return part(rank()); }
  int world_rank(int rank) const { return members_.world_ranks[static_cast<size_t>(rank)]; }
  // The ranks after this one, in turn: all read from different places.
  int after(int distance) const { return (rank() + distance) % size(); }
  Share share_of(size_t bytes, size_t element, int rank) const;

  template <class Source>
  void reduce(std::byte* out, size_t bytes, Call& call, Reduce op, bool stream, Source source);
  void all_reduce_small(Call& call, Buffer data, Reduce op);
  void all_reduce_direct(Call& call, Buffer data, Reduce op);
  void all_reduce_staged(Call& call, Buffer data, Reduce op);
  void reduce_scatter_staged(Call& call, ConstBuffer in, Buffer out, Reduce op);
  void all_gather_staged(Call& call, ConstBuffer in, Buffer out);
  void all_to_all_direct(Call& call, const AllToAll& data);
  void all_to_all_staged(Call& call, const AllToAll& data, size_t longest_bytes);
  size_t check_counts(const Call& call, const AllToAll& data);

  std::shared_ptr<Fabric> fabric_;
  Membership members_;
  std::vector<GroupPart> parts_;
  uint64_t step_ = 0;
  std::vector<const std::byte*> direct_;  // peers' buffers in a direct call
  std::vector<const void*> sources_;      // scratch of reduce()
};

}  // namespace hydrofoil::comm
