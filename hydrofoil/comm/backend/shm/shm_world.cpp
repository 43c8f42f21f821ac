// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/shm/shm_world.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "hydrofoil/comm/backend/shared/shared_backend.h"
#include "hydrofoil/comm/backend/shm/page_allocator.h"
#include "hydrofoil/comm/backend/shm/rendezvous.h"
#include "hydrofoil/comm/group.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"

namespace hydrofoil::comm {
namespace {

// At the beginning of each arena. The failure of rank 0's is the one that counts.
struct Front {
  RankState state;
  FailureSlot failure;
};
constexpr size_t kPartAt = (sizeof(Front) + 4095) / 4096 * 4096;

// Room for every allocation pattern, within what fits into the address space twice: ways are timed
// beside the world that they may replace.
size_t arena_bytes(int ranks) {
  constexpr size_t kGiB = size_t{1} << 30, kAddresses = size_t{1} << 45;
  const size_t wanted = 4 * (host::memory().total_bytes / kGiB + 1) * kGiB;
  return std::min(wanted, kAddresses / static_cast<size_t>(ranks) / kGiB * kGiB);
}

Error system_error(const char* what) {
  return {ExitCode::kError, errno_message(what), "shared memory of the ranks"};
}

// The arenas of all ranks, one after the other in the address space, and who lies where in the own.
class Arenas {
 public:
  Arenas(const std::vector<Member>& members, int rank, size_t bytes)
      : bytes_(bytes), total_(bytes * members.size()), mine_(static_cast<size_t>(rank) * bytes) {
    void* base =
        mmap(nullptr, total_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) throw system_error("mmap");
    base_ = static_cast<std::byte*>(base);
    for (size_t r = 0; r < members.size(); ++r)
      if (mmap(base_ + r * bytes, bytes, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_FIXED | MAP_NORESERVE, members[r].memory.get(), 0) == MAP_FAILED) {
        munmap(base_, total_);
        throw system_error("mmap");
      }
  }
  Arenas(const Arenas&) = delete;
  Arenas& operator=(const Arenas&) = delete;
  ~Arenas() { munmap(base_, total_); }

  std::byte* arena(int rank) const { return base_ + static_cast<size_t>(rank) * bytes_; }
  std::byte* at(uint64_t offset) const { return base_ + offset; }
  // 0 when the range does not lie in an arena (an arena's first bytes are nobody's buffer).
  uint64_t offset_of(const void* data, size_t bytes) const {
    const auto begin = reinterpret_cast<uintptr_t>(data), base = reinterpret_cast<uintptr_t>(base_);
    if (begin < base || begin - base > total_ || bytes > total_ - (begin - base)) return 0;
    return begin - base;
  }

  static SharedBytes take(const std::shared_ptr<Arenas>& self, size_t bytes) {
    const auto offset = self->pages_.take(bytes);
    if (!offset)
      throw Error(ExitCode::kDoesNotFit, std::to_string(bytes) + " bytes do not fit into the " +
                                             std::to_string(self->pages_.free_bytes()) +
                                             " that this rank may still share");
    return {self->base_ + self->mine_ + *offset,
            [self, bytes, at = *offset](std::byte* p) { self->give_back(p, at, bytes); }};
  }
  void reserve(size_t bytes) { pages_.take(bytes); }
  // From now on pages stay, until the last process has unmapped them: this rank leaves, but its
  // peers may not be through with its groups and windows.
  void keep_pages() { keep_.store(true); }

 private:
  // The pages go back to the system, and read as zeros when they are used again.
  void give_back(std::byte* memory, size_t offset, size_t bytes) {
    if (keep_.load()) return;
    const size_t size = PageAllocator::round_up(bytes);
    if (madvise(memory, size, MADV_REMOVE) != 0) std::memset(memory, 0, size);
    pages_.give_back(offset, bytes);
  }

  std::byte* base_ = nullptr;
  size_t bytes_, total_, mine_;
  PageAllocator pages_{0, bytes_};
  std::atomic<bool> keep_{false};
};

class ShmFabric final : public Fabric {
 public:
  ShmFabric(std::shared_ptr<Arenas> arenas, std::vector<Member> members, int rank,
            SharedOptions options)
      : Fabric(rank, static_cast<int>(members.size()), options),
        arenas_(std::move(arenas)),
        members_(std::move(members)) {
    state(rank).pid.store(getpid(), std::memory_order_relaxed);
  }
  ~ShmFabric() override {
    arenas_->keep_pages();
    leave();
  }

  SharedBytes alloc(size_t bytes) override { return Arenas::take(arenas_, bytes); }
  uint64_t token_of(const void* data, size_t bytes) const override {
    return arenas_->offset_of(data, bytes);
  }
  std::byte* at(uint64_t token) const override { return arenas_->at(token); }
  bool freed_memory_vanishes() const override { return false; }
  RankState& state(int rank) const override { return front(rank).state; }
  FailureSlot& failure() const override { return front(0).failure; }
  Graveyard& graveyard() override { return graveyard_; }

  // A pidfd turns readable when its process ends, zombie or not.
  int dead_peer() override {
    std::vector<pollfd> polls;
    for (const auto& member : members_) polls.push_back({member.process.get(), POLLIN, 0});
    polls[static_cast<size_t>(rank())].fd = -1;
    if (poll(polls.data(), polls.size(), 0) <= 0) return -1;
    for (int r = 0; r < size(); ++r)
      if (polls[static_cast<size_t>(r)].revents && !state(r).left.load(std::memory_order_acquire))
        return r;
    return -1;
  }

 private:
  Front& front(int rank) const { return *reinterpret_cast<Front*>(arenas_->arena(rank)); }

  std::shared_ptr<Arenas> arenas_;
  std::vector<Member> members_;
  Graveyard graveyard_;
};

Member own_member(size_t bytes) {
  Member own;
  own.pid = getpid();
  own.memory = Descriptor(memfd_create("hydrofoil", MFD_CLOEXEC));
  if (!own.memory || ftruncate(own.memory.get(), static_cast<off_t>(bytes)) != 0)
    throw system_error("memfd_create");
  own.process = Descriptor(static_cast<int>(syscall(SYS_pidfd_open, own.pid, 0)));
  return own;
}

}  // namespace

std::unique_ptr<SharedBackend> join_shm_backend(const std::string& job, int rank, int size,
                                                const ShmOptions& options) {
  if (rank < 0 || rank >= size)
    throw Error(ExitCode::kConfig, "rank " + std::to_string(rank) + " is not one of " +
                                       std::to_string(size) + " ranks");
  const size_t bytes = arena_bytes(size);
  auto met = meet(job, rank, size, own_member(bytes), options.rendezvous_timeout);
  auto arenas = std::make_shared<Arenas>(met, rank, bytes);
  arenas->reserve(kPartAt + GroupPart::bytes(size));
  for (auto& member : met) member.memory = {};  // mapped: the descriptor is not needed any more
  Membership members;
  for (int r = 0; r < size; ++r) {
    members.world_ranks.push_back(r);
    members.parts.push_back(arenas->arena(r) + kPartAt);
  }
  members.own = SharedBytes(arenas, members.parts[static_cast<size_t>(rank)]);
  auto fabric = std::make_shared<ShmFabric>(std::move(arenas), std::move(met), rank,
                                            SharedOptions{options.timeout, options.first_rank});
  return std::make_unique<SharedBackend>(std::move(fabric), "world", rank, std::move(members));
}

Communicator join_shm(const std::string& job, int rank, int size, const ShmOptions& options) {
  return Communicator(std::make_shared<Group>(join_shm_backend(job, rank, size, options),
                                              std::make_shared<Meter>(), "shm"));
}

}  // namespace hydrofoil::comm
