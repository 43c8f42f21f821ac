// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/hierarchical/hierarchical_backend.h"

#include <algorithm>
#include <utility>

namespace hydrofoil::comm {

class HierarchicalBackend::Link {
 public:
  Link(std::vector<std::shared_ptr<MessageWorld>> worlds, std::shared_ptr<Fabric> fabric)
      : worlds_(std::move(worlds)), fabric_(std::move(fabric)) {
    fabric_->set_account_of_others([this](int rank) { return worlds_[0]->account_of(rank); });
    for (const auto& world : worlds_)
      world->link(
          {&fabric_->state(fabric_->rank()).calls, [this](const Error& error) { spread(error); }});
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  // Leaves the host before the job, which waits until all have left; windows that others still
  // read keep the fabric until then.
  ~Link() {
    for (const auto& world : worlds_) world->link({});
    fabric_->leave();
  }

 private:
  void spread(const Error& error) {
    fabric_->failure().record(error.code(), error.what(), error.where());
    for (const auto& world : worlds_) world->record_failure(error);  // once each
  }

  std::vector<std::shared_ptr<MessageWorld>> worlds_;
  std::shared_ptr<Fabric> fabric_;
};

HierarchicalBackend::HierarchicalBackend(std::vector<Network> networks,
                                         std::unique_ptr<SharedBackend> local,
                                         std::vector<int> hosts, std::optional<Tuning> tuning)
    : HierarchicalBackend(std::move(networks), std::move(local), std::move(hosts),
                          std::move(tuning), nullptr) {}

HierarchicalBackend::HierarchicalBackend(std::vector<Network> networks,
                                         std::unique_ptr<SharedBackend> local,
                                         std::vector<int> hosts, std::optional<Tuning> tuning,
                                         std::shared_ptr<Link> link)
    : Backend(networks.front().ranks->name(), networks.front().ranks->rank(),
              networks.front().ranks->size()),
      networks_(std::move(networks)),
      tuning_(std::move(tuning)),
      link_(std::move(link)),
      local_(std::move(local)),
      host_ids_(std::move(hosts)) {
  if (!link_) {
    std::vector<std::shared_ptr<MessageWorld>> worlds;
    for (const Network& one : networks_) worlds.push_back(one.ranks->world());
    link_ = std::make_shared<Link>(std::move(worlds), local_->fabric());
  }
  find_hosts();
  if (ways_.size() > 1 && size() > 1) guarded([&] { choose(); });
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
  list_ways(consecutive && largest > 1);
}

void HierarchicalBackend::list_ways(bool together) {
  if (hosts_.size() == 1) ways_.push_back({"shm", local_.get(), nullptr});
  for (const Network& one : networks_) {
    if (!tuning_ && !ways_.empty()) break;
    if (together && hosts_.size() > 1)
      ways_.push_back({"shm+" + one.name, nullptr, one.ranks.get()});
    if (tuning_ || ways_.empty()) ways_.push_back({one.name, one.ranks.get(), nullptr});
  }
}

std::vector<std::string> HierarchicalBackend::way_names() const {
  std::vector<std::string> names;
  for (const Way& way : ways_) names.push_back(way.name);
  return names;
}

int HierarchicalBackend::host_id(int rank) const {
  return host_ids_[static_cast<size_t>(network().world_rank(rank))];
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
  for (const Network& one : networks_) one.ranks->check();
  local_->check();
}

std::vector<CallRecord> HierarchicalBackend::recent_calls(int rank) const {
  return is_here(rank) ? local_->recent_calls(local_rank(rank)) : network().recent_calls(rank);
}

// First the ranks of each host agree, then the hosts, before any data moves.
void HierarchicalBackend::enter(Call& call) {
  local_->do_barrier(call);
  if (local_->rank() == 0) {
    std::vector<int> leaders;
    for (const Host& host : hosts_) leaders.push_back(host.first);
    between_->agree(call, leaders);
  }
  local_->do_barrier(call);
}

void HierarchicalBackend::meet(Call& call, const Way& way) {
  if (way.alone) return way.alone->do_barrier(call);
  between_ = way.between;
  enter(call);
}

const HierarchicalBackend::Way& HierarchicalBackend::begin(Call& call, size_t bytes) {
  const size_t way = choices_.way_of(call.record.op, bytes);
  if (way != choices_.home()) meet(call, ways_[choices_.home()]);
  return ways_[way];
}

void HierarchicalBackend::do_barrier(Call& call) {
  guarded([&] { meet(call, ways_[choices_.home()]); });
}

void HierarchicalBackend::do_all_to_all(Call& call, const AllToAll& data) {
  guarded([&] {
    const Way& way = begin(call, data.in.bytes());
    (way.alone ? way.alone : way.between)->do_all_to_all(call, data);
  });
}

void HierarchicalBackend::do_send(Call& call, ConstBuffer data, int to) {
  guarded([&] {
    is_here(to) ? local_->do_send(call, data, local_rank(to)) : network().do_send(call, data, to);
  });
}

void HierarchicalBackend::do_recv(Call& call, Buffer data, int from) {
  guarded([&] {
    is_here(from) ? local_->do_recv(call, data, local_rank(from))
                  : network().do_recv(call, data, from);
  });
}

std::unique_ptr<Backend> HierarchicalBackend::do_split(Call& call, int color, int key,
                                                       std::string name) {
  return guarded([&]() -> std::unique_ptr<Backend> {
    auto local = local_->do_split(call, color, key, name);
    std::vector<Network> networks;
    for (const Network& one : networks_) {
      auto ranks = one.ranks->do_split(call, color, key, name);
      networks.push_back({one.name, std::unique_ptr<MessageBackend>(
                                        static_cast<MessageBackend*>(ranks.release()))});
    }
    return std::unique_ptr<Backend>(new HierarchicalBackend(
        std::move(networks),
        std::unique_ptr<SharedBackend>(static_cast<SharedBackend*>(local.release())), host_ids_,
        tuning_, link_));
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
    auto others = network().window_over(call, SharedBytes(local, local->local()), readers);
    return std::make_unique<HierarchicalWindow>(std::move(local), std::move(others),
                                                std::move(peers));
  });
}

}  // namespace hydrofoil::comm
