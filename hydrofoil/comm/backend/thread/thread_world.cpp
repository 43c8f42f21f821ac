// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/thread/thread_world.h"

#include <stdexcept>
#include <vector>

#include "hydrofoil/comm/backend/local_memory.h"
#include "hydrofoil/comm/backend/shared/shared_backend.h"
#include "hydrofoil/comm/group.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {
struct ThreadWorld::Shared {
  int size = 0;
  SharedOptions options;
  std::vector<SharedBytes> states;  // a RankState each
  std::vector<SharedBytes> parts;   // of the world group
  SharedBytes failure;
  Graveyard graveyard;
  std::vector<std::unique_ptr<std::atomic<bool>>> taken;
};

class ThreadWorld::ThreadFabric final : public Fabric {
 public:
  ThreadFabric(std::shared_ptr<Shared> shared, int rank)
      : Fabric(rank, shared->size, shared->options), shared_(std::move(shared)) {}
  ~ThreadFabric() override { leave(); }

  SharedBytes alloc(size_t bytes) override { return local_memory(bytes); }
  uint64_t token_of(const void* data, size_t) const override {
    return reinterpret_cast<uintptr_t>(data);
  }
  std::byte* at(uint64_t token) const override { return reinterpret_cast<std::byte*>(token); }
  bool freed_memory_vanishes() const override { return true; }
  RankState& state(int rank) const override {
    return *reinterpret_cast<RankState*>(shared_->states[static_cast<size_t>(rank)].get());
  }
  FailureSlot& failure() const override {
    return *reinterpret_cast<FailureSlot*>(shared_->failure.get());
  }
  Graveyard& graveyard() override { return shared_->graveyard; }

 private:
  std::shared_ptr<Shared> shared_;
};

ThreadWorld::ThreadWorld(int size, std::chrono::milliseconds timeout, int first_rank)
    : shared_(std::make_shared<Shared>()) {
  if (size < 1)
    throw Error(ExitCode::kConfig, "a world needs at least one rank, not " + std::to_string(size));
  shared_->size = size;
  shared_->options = {.timeout = timeout, .first_rank = first_rank};
  shared_->failure = local_memory(sizeof(FailureSlot));
  for (int r = 0; r < size; ++r) {
    shared_->states.push_back(local_memory(sizeof(RankState)));
    shared_->parts.push_back(local_memory(GroupPart::bytes(size)));
    shared_->taken.push_back(std::make_unique<std::atomic<bool>>(false));
  }
}

Communicator ThreadWorld::rank(int rank) const {
  return Communicator(std::make_shared<Group>(backend(rank), std::make_shared<Meter>(), "thread"));
}

std::unique_ptr<SharedBackend> ThreadWorld::backend(int rank) const {
  if (rank < 0 || rank >= shared_->size ||
      shared_->taken[static_cast<size_t>(rank)]->exchange(true))
    throw std::logic_error("rank " + std::to_string(rank) + " of a ThreadWorld of " +
                           std::to_string(shared_->size) + " is unknown or already taken");
  Membership members;
  members.own = shared_->parts[static_cast<size_t>(rank)];
  for (int r = 0; r < shared_->size; ++r) {
    members.world_ranks.push_back(r);
    members.parts.push_back(shared_->parts[static_cast<size_t>(r)].get());
  }
  return std::make_unique<SharedBackend>(std::make_shared<ThreadFabric>(shared_, rank), "world",
                                         rank, std::move(members));
}

}  // namespace hydrofoil::comm
