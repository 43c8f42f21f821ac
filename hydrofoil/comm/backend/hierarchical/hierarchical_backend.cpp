// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/hierarchical/hierarchical_backend.h"

#include <algorithm>
#include <utility>

namespace hydrofoil::comm {

class HierarchicalBackend::Link {
 public:
  Link(std::shared_ptr<MessageWorld> world, std::shared_ptr<Fabric> fabric)
      : world_(std::move(world)), fabric_(std::move(fabric)) {
    fabric_->set_account_of_others([this](int rank) { return world_->account_of(rank); });
    world_->link({&fabric_->state(fabric_->rank()).calls, [this](const Error& error) {
                    fabric_->failure().record(error.code(), error.what(), error.where());
                  }});
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  // Leaves the host before the job, which waits until all have left; windows that others still
  // read keep the fabric until then.
  ~Link() {
    world_->link({});
    fabric_->leave();
  }

 private:
  std::shared_ptr<MessageWorld> world_;
  std::shared_ptr<Fabric> fabric_;
};

HierarchicalBackend::HierarchicalBackend(std::unique_ptr<MessageBackend> network,
                                         std::unique_ptr<SharedBackend> local,
                                         std::vector<int> hosts)
    : HierarchicalBackend(std::move(network), std::move(local), std::move(hosts), nullptr) {
  link_ = std::make_shared<Link>(network_->world(), local_->fabric());
}

HierarchicalBackend::HierarchicalBackend(std::unique_ptr<MessageBackend> network,
                                         std::unique_ptr<SharedBackend> local,
                                         std::vector<int> hosts, std::shared_ptr<Link> link)
    : Backend(network->name(), network->rank(), network->size()),
      network_(std::move(network)),
      link_(std::move(link)),
      local_(std::move(local)),
      host_ids_(std::move(hosts)) {
  find_hosts();
}

// Ranks that share a host but are not neighbours, or hosts of one rank each: nothing to gain.
void HierarchicalBackend::find_hosts() {
  bool consecutive = true;
  for (int r = 0; r < size(); ++r) {
    const int id = host_id(r);
    if (!hosts_.empty() && hosts_.back().id == id) {
      ++hosts_.back().size;
      continue;
    }
    consecutive &=
        std::none_of(hosts_.begin(), hosts_.end(), [&](const Host& host) { return host.id == id; });
    hosts_.push_back({id, r, 1});
  }
  here_ = host_of(rank());
  const auto by_size = [](const Host& a, const Host& b) { return a.size < b.size; };
  lanes_ = std::min_element(hosts_.begin(), hosts_.end(), by_size)->size;
  const int largest = std::max_element(hosts_.begin(), hosts_.end(), by_size)->size;
  if (hosts_.size() == 1)
    alone_ = local_.get();
  else if (!consecutive || largest == 1)
    alone_ = network_.get();
}

int HierarchicalBackend::host_id(int rank) const {
  return host_ids_[static_cast<size_t>(network_->world_rank(rank))];
}

size_t HierarchicalBackend::host_of(int rank) const {
  const auto found = std::find_if(hosts_.begin(), hosts_.end(), [&](const Host& host) {
    return rank >= host.first && rank < host.first + host.size;
  });
  return static_cast<size_t>(found - hosts_.begin());
}

int HierarchicalBackend::local_rank(int rank) const {
  int before = 0;
  for (int r = 0; r < rank; ++r) before += host_id(r) == host_id(rank);
  return before;
}

void HierarchicalBackend::check() {
  network_->check();
  local_->check();
}

std::vector<CallRecord> HierarchicalBackend::recent_calls(int rank) const {
  return is_here(rank) ? local_->recent_calls(local_rank(rank)) : network_->recent_calls(rank);
}

// First the ranks of each host agree, then the hosts, before any data moves.
void HierarchicalBackend::enter(Call& call) {
  local_->do_barrier(call);
  if (local_->rank() == 0) {
    std::vector<int> leaders;
    for (const Host& host : hosts_) leaders.push_back(host.first);
    network_->agree(call, leaders);
  }
  local_->do_barrier(call);
}

void HierarchicalBackend::do_barrier(Call& call) {
  guarded([&] { alone_ ? alone_->do_barrier(call) : enter(call); });
}

void HierarchicalBackend::do_all_to_all(Call& call, const AllToAll& data) {
  guarded([&] { (alone_ ? alone_ : network_.get())->do_all_to_all(call, data); });
}

void HierarchicalBackend::do_send(Call& call, ConstBuffer data, int to) {
  guarded([&] {
    is_here(to) ? local_->do_send(call, data, local_rank(to)) : network_->do_send(call, data, to);
  });
}

void HierarchicalBackend::do_recv(Call& call, Buffer data, int from) {
  guarded([&] {
    is_here(from) ? local_->do_recv(call, data, local_rank(from))
                  : network_->do_recv(call, data, from);
  });
}

std::unique_ptr<Backend> HierarchicalBackend::do_split(Call& call, int color, int key,
                                                       std::string name) {
  return guarded([&]() -> std::unique_ptr<Backend> {
    auto local = local_->do_split(call, color, key, name);
    auto network = network_->do_split(call, color, key, std::move(name));
    return std::unique_ptr<Backend>(new HierarchicalBackend(
        std::unique_ptr<MessageBackend>(static_cast<MessageBackend*>(network.release())),
        std::unique_ptr<SharedBackend>(static_cast<SharedBackend*>(local.release())), host_ids_,
        link_));
  });
}

namespace {

// Readers of the own host read in shared memory, the others ask.
class HierarchicalWindow final : public WindowPart {
 public:
  // peers: ranks of this host, by rank of the group; -1 for others.
  HierarchicalWindow(std::shared_ptr<WindowPart> local, std::unique_ptr<WindowPart> network,
                     std::vector<int> peers)
      : local_(std::move(local)), network_(std::move(network)), peers_(std::move(peers)) {}

  std::byte* local() override { return local_->local(); }
  void read(Call& call, int rank, uint64_t version, size_t offset,
            std::span<std::byte> out) override {
    const int here = peers_[static_cast<size_t>(rank)];
    here >= 0 ? local_->read(call, here, version, offset, out)
              : network_->read(call, rank, version, offset, out);
  }
  void publish(uint64_t version) override {
    local_->publish(version);
    network_->publish(version);
  }
  void retire(uint64_t version) override {
    local_->retire(version);
    network_->retire(version);
  }
  void await_retired(Call& call, uint64_t version) override {
    local_->await_retired(call, version);
    network_->await_retired(call, version);
  }

 private:
  std::shared_ptr<WindowPart> local_;
  std::unique_ptr<WindowPart> network_;
  std::vector<int> peers_;
};

}  // namespace

std::unique_ptr<WindowPart> HierarchicalBackend::do_window(Call& call, size_t bytes) {
  return guarded([&]() -> std::unique_ptr<WindowPart> {
    std::shared_ptr<WindowPart> local = local_->do_window(call, bytes);
    std::vector<int> peers, readers;
    for (int r = 0; r < size(); ++r) {
      peers.push_back(is_here(r) ? local_rank(r) : -1);
      if (!is_here(r)) readers.push_back(r);
    }
    auto network = network_->window_over(call, SharedBytes(local, local->local()), readers);
    return std::make_unique<HierarchicalWindow>(std::move(local), std::move(network),
                                                std::move(peers));
  });
}

}  // namespace hydrofoil::comm
