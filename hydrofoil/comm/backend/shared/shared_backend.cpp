// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/shared/shared_backend.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

namespace hydrofoil::comm {

SharedBackend::SharedBackend(std::shared_ptr<Fabric> fabric, std::string name, int rank,
                             Membership members)
    : Backend(std::move(name), rank, static_cast<int>(members.world_ranks.size())),
      fabric_(std::move(fabric)),
      members_(std::move(members)),
      direct_(members_.parts.size()),
      sources_(members_.parts.size()) {
  for (std::byte* base : members_.parts) parts_.emplace_back(base, size());
}

SharedBackend::~SharedBackend() {
  for (const auto& p : parts_) p.line().released.fetch_add(1, std::memory_order_acq_rel);
  fabric_->graveyard().bury(std::move(members_.own), &mine().line().released,
                            static_cast<uint32_t>(size()));
  fabric_->graveyard().sweep();
}

void SharedBackend::abort(std::string_view reason) {
  fabric_->failure().record(ExitCode::kPeerFailed, reason, fabric_->label(fabric_->rank()));
}

std::vector<CallRecord> SharedBackend::recent_calls(int rank) const {
  return fabric_->state(world_rank(rank)).calls.recent();
}

void SharedBackend::step(Call& call) {
  mine().line().phase.set(++step_);
  for (int r = 0; r < size(); ++r)
    if (r != rank()) fabric_->wait_for(part(r).line().phase, step_, world_rank(r), call);
}

void SharedBackend::enter(Call& call, uint64_t token) {
  const uint64_t parity = step_ % 2;
  mine().line().signature[parity] = call.signature;
  mine().line().token[parity] = token;
  step(call);
  for (int r = 0; r < size(); ++r)
    if (part(r).line().signature[parity] != call.signature) mismatch(call, r);
}

// The other rank's side is in its flight record, under the same position in the group's order.
void SharedBackend::mismatch(const Call& call, int rank) {
  std::string theirs = "another call";
  for (const auto& record : recent_calls(rank))
    if (record.group_sequence == call.record.group_sequence &&
        record.group_name() == call.record.group_name())
      theirs = describe_in_full(record);
  fabric_->fail(ExitCode::kError,
                fabric_->label(world_rank(rank)) + " called " + theirs + " where " +
                    fabric_->label(fabric_->rank()) + " called " + describe_in_full(call.record),
                {});
}

SharedBackend::InPlace::InPlace(SharedBackend& owner)
    : owner_(owner), exceptions_(std::uncaught_exceptions()) {
  owner_.mine().line().reading.store(1, std::memory_order_seq_cst);
}

// The failure is recorded before the flags are read here, and the flag is set before the failure is
// looked for in enter_direct: a peer is either seen reading, or does not begin to.
SharedBackend::InPlace::~InPlace() {
  owner_.mine().line().reading.store(0, std::memory_order_seq_cst);
  if (std::uncaught_exceptions() == exceptions_ || !owner_.fabric_->freed_memory_vanishes()) return;
  owner_.abort("failed inside a collective");  // whatever it was: unless recorded already
  for (int r = 0; r < owner_.size(); ++r)
    while (owner_.part(r).line().reading.load(std::memory_order_seq_cst)) sched_yield();
}

bool SharedBackend::enter_direct(Call& call, const void* data, size_t bytes) {
  enter(call, fabric_->token_of(data, bytes));
  fabric_->check();
  bool direct = true;
  for (int r = 0; r < size(); ++r) {
    const uint64_t token = part(r).line().token[(step_ - 1) % 2];
    direct &= token != 0;
    direct_[static_cast<size_t>(r)] = token ? fabric_->at(token) : nullptr;
  }
  return direct;
}

template <class T>
std::vector<T> SharedBackend::exchange(Call& call, const T& mine) {
  static_assert(sizeof(T) <= kStageBytes);
  std::memcpy(stage(), &mine, sizeof(T));
  enter(call);
  std::vector<T> all(static_cast<size_t>(size()));
  for (int r = 0; r < size(); ++r) std::memcpy(&all[static_cast<size_t>(r)], staged(r), sizeof(T));
  return all;
}

std::unique_ptr<Backend> SharedBackend::do_split(Call& call, int color, int key, std::string name) {
  struct Wish {
    int color, key;
  };
  const auto wishes = exchange(call, Wish{color, key});
  std::vector<int> ranks;  // of this group, that become members of the new one
  for (int r = 0; r < size(); ++r)
    if (wishes[static_cast<size_t>(r)].color == color) ranks.push_back(r);
  std::stable_sort(ranks.begin(), ranks.end(), [&](int a, int b) {
    return wishes[static_cast<size_t>(a)].key < wishes[static_cast<size_t>(b)].key;
  });
  const size_t part_bytes = GroupPart::bytes(static_cast<int>(ranks.size()));
  Membership members{.world_ranks = {}, .parts = {}, .own = fabric_->alloc(part_bytes)};
  const auto tokens = exchange(call, fabric_->token_of(members.own.get(), part_bytes));
  for (const int r : ranks) {
    members.world_ranks.push_back(world_rank(r));
    members.parts.push_back(fabric_->at(tokens[static_cast<size_t>(r)]));
  }
  const auto place = std::find(ranks.begin(), ranks.end(), rank()) - ranks.begin();
  return std::make_unique<SharedBackend>(fabric_, std::move(name), static_cast<int>(place),
                                         std::move(members));
}

template std::vector<uint64_t> SharedBackend::exchange(Call& call, const uint64_t& mine);

}  // namespace hydrofoil::comm
