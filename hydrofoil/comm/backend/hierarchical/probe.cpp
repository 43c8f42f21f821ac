// SPDX-License-Identifier: Apache-2.0
// How long a group's collectives take by each of its ways, and what it chooses from that.
#include <algorithm>
#include <chrono>
#include <limits>

#include "hydrofoil/comm/backend/hierarchical/hierarchical_backend.h"

namespace hydrofoil::comm {
namespace {

constexpr double kBatchSeconds = 4e-4;     // so that the clock does not count
constexpr double kCalls = 64;              // of a batch, at most
constexpr double kSlowCallSeconds = 5e-3;  // fewer rounds from here on
constexpr int kRounds = 7, kSlowRounds = 2;

Call probe_call(const Backend& group, Operation op, size_t bytes, int root = -1) {
  Call call;
  call.record.op = op;
  call.record.purpose = Purpose::kBenchmark;
  call.record.count = bytes;
  call.record.peer = static_cast<int16_t>(root);
  set_text(call.record.group, group.name());
  set_text(call.record.name, "choosing backends");
  call.signature = bytes << 8 | static_cast<uint64_t>(op);
  return call;
}

}  // namespace

class HierarchicalBackend::Probe {
 public:
  explicit Probe(HierarchicalBackend& group)
      : group_(group),
        whole_(group.alloc(kLargestProbeBytes)),
        other_(group.alloc(kLargestProbeBytes)) {}

  // As MeasureWays. Ways take turns, and each counts with its quickest batch: others may use the
  // machine meanwhile.
  std::vector<double> seconds(Operation op, size_t bytes, size_t home) {
    const size_t ways = group_.ways_.size();
    std::vector<double> best(ways, std::numeric_limits<double>::infinity());
    std::vector<int> calls(ways, 1);
    int rounds = kRounds;
    for (int round = 0; round < rounds; ++round)
      for (size_t way = 0; way < ways; ++way) {
        group_.choices_ = Choices::always(way, op == Operation::kBarrier ? way : home);
        const double time = batch(op, bytes, calls[way]);
        if (round == 0) {  // opens connections, touches pages
          calls[way] = static_cast<int>(std::clamp(kBatchSeconds / time, 1.0, kCalls));
          if (time > kSlowCallSeconds) rounds = 1 + kSlowRounds;
        } else {
          best[way] = std::min(best[way], time);
        }
      }
    group_.choices_ = {};
    return best;
  }

  // Rank 0's text to all.
  std::string share(std::string text) {
    uint64_t bytes = text.size();
    broadcast(&bytes, sizeof bytes);
    text.resize(bytes);
    broadcast(text.data(), bytes);
    return text;
  }

 private:
  void broadcast(void* data, size_t bytes) {
    Call call = probe_call(group_, Operation::kBroadcast, bytes, 0);
    group_.do_broadcast(call, {data, bytes, DType::kU8}, 0);
  }

  double batch(Operation op, size_t bytes, int calls) {
    Call barrier = probe_call(group_, Operation::kBarrier, 0);
    group_.do_barrier(barrier);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) once(op, bytes);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    double slowest = taken.count() / calls;
    Call agree = probe_call(group_, Operation::kAllReduce, sizeof slowest);
    group_.do_all_reduce(agree, {&slowest, 1, DType::kF64}, Reduce::kMax);
    return slowest;
  }

  void once(Operation op, size_t bytes) {
    const auto ranks = static_cast<size_t>(group_.size());
    const size_t part = std::max<size_t>(1, bytes / sizeof(float) / ranks);
    const Buffer all{whole_.get(), part * ranks, DType::kF32};
    const Buffer mine{other_.get(), part, DType::kF32};
    const int root = op == Operation::kBroadcast ? 0 : -1;
    Call call = probe_call(group_, op, all.bytes(), root);
    switch (op) {
      case Operation::kAllReduce:
        return group_.do_all_reduce(call, all, Reduce::kSum);
      case Operation::kReduceScatter:
        return group_.do_reduce_scatter(call, all, mine, Reduce::kSum);
      case Operation::kAllGather:
        return group_.do_all_gather(call, mine, all);
      case Operation::kBroadcast:
        return group_.do_broadcast(call, all, 0);
      case Operation::kAllToAll: {
        const std::vector<size_t> counts(ranks, part);
        return group_.do_all_to_all(
            call, {all, counts, {other_.get(), part * ranks, DType::kF32}, counts});
      }
      default:
        return group_.do_barrier(call);
    }
  }

  HierarchicalBackend& group_;
  SharedBytes whole_, other_;  // zeros: their sums stay zeros
};

void HierarchicalBackend::choose() {
  Probe probe(*this);
  const auto names = way_names();
  std::vector<int> ranks;
  for (const Host& host : hosts_) ranks.push_back(host.size);
  const std::string about = choices_key(tuning_->machine, ranks, names);
  const std::string known =
      probe.share(rank() == 0 ? tuning_->store->find(about).value_or("") : "");
  if (const auto choices = Choices::parse(known, names)) {
    choices_ = *choices;
    return;
  }
  const Activity activity(calls(), "choosing backends");
  const Choices found = choose_ways(
      [&](Operation op, size_t bytes, size_t home) { return probe.seconds(op, bytes, home); });
  choices_ = found;
  tuning_->store->keep(about, found.text(names), rank() == 0);
}

std::string HierarchicalBackend::choices() const {
  return ways_.size() > 1 ? choices_.text(way_names()) : "";
}

}  // namespace hydrofoil::comm
