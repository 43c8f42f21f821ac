// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/shared/fabric.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "hydrofoil/core/host.h"

namespace hydrofoil::comm {
namespace {

constexpr long kSliceNs = 10'000'000;  // between two looks around while asleep

}  // namespace

std::string seconds_text(std::chrono::milliseconds time) {
  const auto ms = time.count();
  return ms % 1000 ? std::to_string(ms) + " ms" : std::to_string(ms / 1000) + " s";
}

bool FailureSlot::record(ExitCode code, std::string_view message, std::string_view where) {
  uint32_t none = kNone;
  if (!state_.compare_exchange_strong(none, kWriting)) return false;
  code_ = static_cast<int32_t>(code);
  message_[message.copy(message_, sizeof message_ - 1)] = '\0';
  where_[where.copy(where_, sizeof where_ - 1)] = '\0';
  state_.store(kReady, std::memory_order_release);
  return true;
}

void FailureSlot::raise() const {
  // The rank that writes may have lost its core, for a second at most, or it has died.
  constexpr int kYields = 1000, kNaps = 1000;
  for (int i = 0; i < kYields + kNaps && state_.load(std::memory_order_acquire) != kReady; ++i)
    if (i < kYields)
      sched_yield();
    else
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (state_.load(std::memory_order_acquire) != kReady)
    throw Error(ExitCode::kPeerFailed, "a rank died while it reported a failure");
  const auto code = static_cast<ExitCode>(code_);
  throw Error(code, message_, where_,
              code == ExitCode::kTimeout
                  ? "HYDROFOIL_COMM_TIMEOUT_SECONDS sets how long ranks wait for each other"
                  : "");
}

void Graveyard::bury(SharedBytes memory, const std::atomic<uint32_t>* released, uint32_t members) {
  const std::lock_guard lock(mutex_);
  graves_.push_back({std::move(memory), released, members});
}

void Graveyard::sweep() {
  const std::lock_guard lock(mutex_);
  std::erase_if(graves_, [](const Grave& grave) {
    return grave.released->load(std::memory_order_acquire) == grave.members;
  });
}

// With more ranks than cores, the one that is waited for needs the core.
Fabric::Fabric(int rank, int size, SharedOptions options)
    : rank_(rank), size_(size), options_(options) {
  const bool crowded = size > host::usable_cores();
  spins_ = crowded ? 50 : 2000;
  yields_ = crowded ? 20 : 100;
}

std::string Fabric::label(int rank) const {
  const int pid = state(rank).pid.load(std::memory_order_relaxed);
  return "rank " + std::to_string(options_.first_rank + rank) +
         (pid ? " (pid " + std::to_string(pid) + ")" : "");
}

void Fabric::leave() {
  state(rank_).left.store(1, std::memory_order_release);
}

void Fabric::fail(ExitCode code, const std::string& message, const std::string& where) {
  failure().record(code, message, where);
  failure().raise();
}

void Fabric::wait_for(const Counter& counter, uint64_t value, int rank, Call& call) {
  // The worker of asynchronous calls leaves the core to the computation that it overlaps.
  const int spins = call.async ? std::min(spins_, 50) : spins_;
  const int yields = call.async ? std::min(yields_, 20) : yields_;
  for (int i = 0; i < spins; ++i)
    if (counter.reached(value)) return;
  for (int i = 0; i < yields; ++i, sched_yield())
    if (counter.reached(value)) return;
  sleep_until(counter, value, rank, call);
}

void Fabric::sleep_until(const Counter& counter, uint64_t value, int rank, Call& call) {
  const auto end = std::chrono::steady_clock::now() + options_.timeout;
  bool noted = false;
  for (;;) {
    const uint64_t seen = counter.get();
    if (seen >= value) return;
    look_around(counter, value, rank, call);
    counter.sleep(seen, kSliceNs);
    if (counter.reached(value)) return;
    if (!noted) {  // only once it takes long: the record is for those who ask why
      call.record.waits_for = static_cast<int16_t>(options_.first_rank + rank);
      state(rank_).calls.put(call.record);
      noted = true;
    }
    if (std::chrono::steady_clock::now() > end) time_out(rank, call);
  }
}

// A rank that has died ends the job at once; one that has left in order ends it for those who still
// need it. Either may have done what is waited for before it went.
void Fabric::look_around(const Counter& counter, uint64_t value, int rank, const Call& call) {
  check();
  const int dead = dead_peer();
  if (dead >= 0)
    fail(ExitCode::kPeerFailed,
         label(dead) + " died; " + last_seen_text(state(dead).calls.recent()));
  if (!state(rank).left.load(std::memory_order_acquire) || counter.reached(value)) return;
  check();
  fail(ExitCode::kPeerFailed, label(rank) + " ended while " + label(rank_) + " waited for it in " +
                                  describe(call.record) + "; " +
                                  last_seen_text(state(rank).calls.recent()));
}

// Follows the chain of who waits for whom to the rank that holds up all.
void Fabric::time_out(int rank, const Call& call) {
  std::string text = label(rank_) + " waited " + seconds_text(options_.timeout) + " for " +
                     label(rank) + " in " + describe(call.record);
  for (int hops = 0; hops < size_; ++hops) {
    const auto recent = state(rank).calls.recent();
    text += "; " + last_seen_text(recent);
    const CallRecord* last = last_seen(recent);
    if (!last || last->phase != CallPhase::kStarted || last->waits_for < 0) break;
    rank = last->waits_for - options_.first_rank;
    if (rank < 0 || rank >= size_) {
      text += " and waited for " + account_of_other_(last->waits_for);
      break;
    }
    text += " and waited for " + label(rank);
    if (rank == rank_) break;
  }
  fail(ExitCode::kTimeout, text);
}

}  // namespace hydrofoil::comm
