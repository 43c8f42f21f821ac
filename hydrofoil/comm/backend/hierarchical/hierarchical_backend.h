// SPDX-License-Identifier: Apache-2.0
// Ranks of several hosts: shared memory inside a host, messages between hosts.
//
// Every byte crosses between two hosts once, however many ranks they have. The work between hosts
// is shared by `lanes` ranks of each, its carriers: local rank i carries stripe i of the data.
//   reduce      the ranks of a host hand their stripes to the carriers; the sum begins on the first
//               host and travels: each host adds its ranks' values, in order, to what it received
//               in fp32. So the bits are those of one host with as many ranks.
//   all_gather  inside each host first, then the carriers exchange whole hosts' blocks.
// For that the ranks of a host must be consecutive; a group where they are not goes by messages
// alone, with the same results. A window is read in shared memory on the own host and by messages
// elsewhere.
//
// With a Tuning there are several ways beside that one: over each network, with hosts as one or
// every rank by itself. A group measures them once, and each collective takes the quickest for its
// size (comm/choices.h). The bits are the same. Pairs and windows go by the first network.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hydrofoil/comm/backend.h"
#include "hydrofoil/comm/backend/message/message_backend.h"
#include "hydrofoil/comm/backend/shared/shared_backend.h"
#include "hydrofoil/comm/choices.h"

namespace hydrofoil::comm {

// All ranks of a group over one messaging library.
struct Network {
  std::string name;  // "gloo"
  std::unique_ptr<MessageBackend> ranks;
};

// Choose by measurement; what was found is kept under a key that begins with `machine`.
struct Tuning {
  std::string machine;  // one line: what the times depend on beside the ranks and their hosts
  std::shared_ptr<ChoiceStore> store;
};

class HierarchicalBackend final : public Backend {
 public:
  // networks: at least one; without a tuning the first carries everything. local: the ranks of this
  // host, in the same order. hosts: a number for each host, by world rank. Collective with a
  // tuning.
  HierarchicalBackend(std::vector<Network> networks, std::unique_ptr<SharedBackend> local,
                      std::vector<int> hosts, std::optional<Tuning> tuning = {});

  void do_all_reduce(Call& call, Buffer data, Reduce op) override;
  void do_reduce_scatter(Call& call, ConstBuffer in, Buffer out, Reduce op) override;
  void do_all_gather(Call& call, ConstBuffer in, Buffer out) override;
  void do_all_to_all(Call& call, const AllToAll& data) override;
  void do_broadcast(Call& call, Buffer data, int root) override;
  void do_send(Call& call, ConstBuffer data, int to) override;
  void do_recv(Call& call, Buffer data, int from) override;
  void do_barrier(Call& call) override;
  std::unique_ptr<Backend> do_split(Call& call, int color, int key, std::string name) override;
  std::unique_ptr<WindowPart> do_window(Call& call, size_t bytes) override;

  SharedBytes alloc(size_t bytes) override { return local_->alloc(bytes); }
  void check() override;
  void abort(std::string_view reason) override { network().abort(reason); }
  FlightRing& calls() override { return local_->calls(); }
  std::vector<CallRecord> recent_calls(int rank) const override;
  std::string choices() const override;

 private:
  struct Host {
    int id, first, size;  // ranks [first, first + size) of the group
  };
  struct Way {
    std::string name;
    Backend* alone;           // does everything by itself, or
    MessageBackend* between;  // hosts as one, this between them
  };
  struct Stripe {  // of a piece of data, in elements
    size_t begin, count;
  };
  // Makes the worlds of a rank share its record and their failure, as long as it lives.
  class Link;
  class Probe;  // of its ways; collective

  HierarchicalBackend(std::vector<Network> networks, std::unique_ptr<SharedBackend> local,
                      std::vector<int> hosts, std::optional<Tuning> tuning,
                      std::shared_ptr<Link> link);
  MessageBackend& network() const { return *networks_.front().ranks; }
  void find_hosts();
  void list_ways(bool together);  // whether ranks of a host can act as one
  void choose();                  // from the store, or by a probe
  std::vector<std::string> way_names() const;
  // Runs body; what goes wrong inside this host ends the ranks of the others too.
  template <class Body>
  auto guarded(Body body) {
    try {
      return body();
    } catch (const Error& error) {
      network().world()->record_failure(error);
      throw;
    }
  }
  void enter(Call& call);
  void meet(Call& call, const Way& way);  // a barrier
  // The way for a call of `bytes`, after what brings the ranks together where that is another one.
  const Way& begin(Call& call, size_t bytes);
  // Runs alone(backend), or together() between hosts.
  template <class Alone, class Together>
  void run(Call& call, size_t bytes, Alone alone, Together together) {
    guarded([&] {
      const Way& way = begin(call, bytes);
      if (way.alone) return alone(*way.alone);
      between_ = way.between;
      enter(call);
      together();
    });
  }

  bool carries() const { return local_->rank() < lanes_; }
  Stripe stripe(size_t count, int lane) const;
  int carrier(size_t host) const { return hosts_[host].first + local_->rank(); }
  size_t host_of(int rank) const;  // index in hosts_
  bool is_here(int rank) const { return host_id(rank) == host_id(this->rank()); }
  int host_id(int rank) const;
  int local_rank(int rank) const;

  // Sums over all ranks. The result is with the carriers of the last host: total_.
  void sum_towards_last(Call& call, ConstBuffer in, Reduce op);
  void add_own_host(ConstBuffer pieces, Reduce op, bool begun);
  const std::byte* total_as(DType type, size_t count);
  // total_ of the last host's carriers becomes the `out` of one rank.
  void deliver(Call& call, int to, Buffer out);
  // What the carriers of one host have of `data` reaches all ranks of the other hosts; of the own
  // too, where here_too.
  void spread(Call& call, size_t from_host, Buffer data, bool here_too);

  std::vector<Network> networks_;
  std::optional<Tuning> tuning_;
  std::shared_ptr<Link> link_;
  std::unique_ptr<SharedBackend> local_;
  std::vector<int> host_ids_;  // by world rank
  std::vector<Way> ways_;      // at least one
  Choices choices_;
  MessageBackend* between_ = nullptr;  // hosts, in the call under way
  std::vector<Host> hosts_;            // in the order of the ranks
  size_t here_ = 0;                    // this rank's
  int lanes_ = 1;
  std::vector<std::byte> pieces_, total_, result_;
  std::vector<float> wide_;
};

}  // namespace hydrofoil::comm
