// SPDX-License-Identifier: Apache-2.0
// One rank's view of what the ranks of a host share: memory that all can read, the state of every
// rank, and the one failure that ends them all. Threads and processes differ only here.
//
// Ranks are those of the world; groups translate. Waiting spins (without PAUSE: under a hypervisor
// it may cost a 100 us exit), yields, then sleeps in slices; between two slices it looks for the
// dead, the failed and the clock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hydrofoil/comm/backend.h"
#include "hydrofoil/comm/backend/shared/counter.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {

struct SharedOptions {
  std::chrono::milliseconds timeout{std::chrono::minutes(10)};
  int first_rank = 0;  // of this host, where the job has several: ranks here are named from it on
};

std::string seconds_text(std::chrono::milliseconds time);  // "2 s", "300 ms"

// What peers may know of a rank; in zeroed shared memory, written by that rank.
struct RankState {
  std::atomic<int32_t> pid;  // 0 for a thread
  std::atomic<uint32_t> left;
  FlightRing calls;
};

// The first failure of the job. In zeroed shared memory.
class FailureSlot {
 public:
  // Whether it was the first.
  bool record(ExitCode code, std::string_view message, std::string_view where);
  bool present() const { return state_.load(std::memory_order_seq_cst) != kNone; }
  [[noreturn]] void raise() const;  // it must be present

 private:
  enum State : uint32_t { kNone, kWriting, kReady };
  std::atomic<uint32_t> state_;
  int32_t code_;
  char message_[1500], where_[64];
};

// Memory of groups and windows that peers may still be reading; freed when all have let go.
class Graveyard {
 public:
  void bury(SharedBytes memory, const std::atomic<uint32_t>* released, uint32_t members);
  void sweep();

 private:
  struct Grave {
    SharedBytes memory;
    const std::atomic<uint32_t>* released;  // in `memory`
    uint32_t members;
  };
  std::mutex mutex_;
  std::vector<Grave> graves_;
};

class Fabric {
 public:
  Fabric(int rank, int size, SharedOptions options);
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;
  virtual ~Fabric() = default;

  int rank() const { return rank_; }
  int size() const { return size_; }

  virtual SharedBytes alloc(size_t bytes) = 0;  // zeroed
  // A name under which peers find memory of this rank; 0 when they cannot read it.
  virtual uint64_t token_of(const void* data, size_t bytes) const = 0;
  virtual std::byte* at(uint64_t token) const = 0;
  // Memory that a rank frees may become invalid for a peer that still reads it after a failure.
  virtual bool freed_memory_vanishes() const = 0;
  virtual RankState& state(int rank) const = 0;
  virtual FailureSlot& failure() const = 0;
  virtual Graveyard& graveyard() = 0;
  virtual int dead_peer() { return -1; }  // a rank that ended without leaving

  // Returns when `rank` has brought the counter to `value`; throws what prevents it.
  void wait_for(const Counter& counter, uint64_t value, int rank, Call& call);
  void check() const {
    if (failure().present()) failure().raise();
  }
  // Ends the job with this failure, unless there is one already, and throws the one that counts.
  [[noreturn]] void fail(ExitCode code, const std::string& message, const std::string& where = {});
  std::string label(int rank) const;  // "rank 2 (pid 123)"
  void leave();                       // no peer shall wait for this rank any more
  // What to say of ranks of other hosts, by their number in the job.
  void set_account_of_others(std::function<std::string(int rank)> account) {
    account_of_other_ = std::move(account);
  }

 private:
  void sleep_until(const Counter& counter, uint64_t value, int rank, Call& call);
  void look_around(const Counter& counter, uint64_t value, int rank, const Call& call);
  [[noreturn]] void time_out(int rank, const Call& call);

  int rank_, size_;
  SharedOptions options_;
  std::function<std::string(int rank)> account_of_other_;
  int spins_, yields_;
};

}  // namespace hydrofoil::comm
