// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/team.h"

#include <sched.h>

#include <algorithm>

#include "hydrofoil/core/host.h"

namespace hydrofoil::inference {
namespace {

// About 10 us of polling, then the core may go to somebody else; after about a millisecond without
// a new round a thread sleeps.
constexpr int kSpins = 20000, kCrowdedSpins = 100, kRoundsOfSpins = 100;

}  // namespace

Team::Team(int threads)
    : size_(std::max(threads, 1)),
      spins_(size_ > host::usable_cores() ? kCrowdedSpins : kSpins),
      sides_(new Side[static_cast<size_t>(size_)]) {
  for (int me = 1; me < size_; ++me) threads_.emplace_back([this, me] { work(me); });
}

Team::~Team() {
  job_ = nullptr;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Team::run(const std::function<void(int)>& job) {
  if (size_ == 1) return job(0);
  job_ = &job;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  job(0);
  barrier(0);
}

void Team::work(int me) {
  for (uint32_t seen = 0;; ++seen) {
    int spins = 0;
    while (round_.load(std::memory_order_acquire) == seen)
      if (++spins > kRoundsOfSpins * spins_) round_.wait(seen, std::memory_order_acquire);
    if (!job_) return;
    (*job_)(me);
    barrier(me);
  }
}

// Everybody tells everybody: one store, and a load of each other's.
void Team::barrier(int me) {
  Side& mine = sides_[static_cast<size_t>(me)];
  const uint32_t epoch = ++mine.epoch;
  mine.arrived.store(epoch, std::memory_order_release);
  for (int other = 0; other < size_; ++other) {
    const auto& arrived = sides_[static_cast<size_t>(other)].arrived;
    int spins = 0;
    while (static_cast<int32_t>(arrived.load(std::memory_order_acquire) - epoch) < 0)
      if (++spins > spins_) sched_yield();
  }
}

std::pair<size_t, size_t> Team::share(int me, size_t count, size_t grain) const {
  const size_t units = (count + grain - 1) / grain, parts = static_cast<size_t>(size_);
  const auto cut = [&](size_t part) { return std::min(count, units * part / parts * grain); };
  return {cut(static_cast<size_t>(me)), cut(static_cast<size_t>(me) + 1)};
}

}  // namespace hydrofoil::inference
