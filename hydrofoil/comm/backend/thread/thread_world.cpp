// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/thread/thread_world.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <vector>

#include "hydrofoil/comm/backend/shared/shared_backend.h"
#include "hydrofoil/comm/group.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {
namespace {

constexpr size_t kMapFromBytes = 256 << 10;  // zero pages come from the system, and go back to it

SharedBytes allocate(size_t bytes) {
  if (bytes >= kMapFromBytes) {
    void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) throw std::bad_alloc();
    return {static_cast<std::byte*>(base), [bytes](std::byte* p) { munmap(p, bytes); }};
  }
  const size_t rounded = (bytes + 63) / 64 * 64 + (bytes ? 0 : 64);
  void* base = std::aligned_alloc(64, rounded);
  if (!base) throw std::bad_alloc();
  std::memset(base, 0, rounded);
  return {static_cast<std::byte*>(base), [](std::byte* p) { std::free(p); }};
}

}  // namespace

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

  SharedBytes alloc(size_t bytes) override { return allocate(bytes); }
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

ThreadWorld::ThreadWorld(int size, std::chrono::milliseconds timeout)
    : shared_(std::make_shared<Shared>()) {
  if (size < 1)
    throw Error(ExitCode::kConfig, "a world needs at least one rank, not " + std::to_string(size));
  shared_->size = size;
  shared_->options.timeout = timeout;
  shared_->failure = allocate(sizeof(FailureSlot));
  for (int r = 0; r < size; ++r) {
    shared_->states.push_back(allocate(sizeof(RankState)));
    shared_->parts.push_back(allocate(GroupPart::bytes(size)));
    shared_->taken.push_back(std::make_unique<std::atomic<bool>>(false));
  }
}

Communicator ThreadWorld::rank(int rank) const {
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
  auto backend = std::make_unique<SharedBackend>(std::make_shared<ThreadFabric>(shared_, rank),
                                                 "world", rank, std::move(members));
  return Communicator(std::make_shared<Group>(std::move(backend), std::make_shared<Meter>()));
}

}  // namespace hydrofoil::comm
