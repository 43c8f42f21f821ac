// SPDX-License-Identifier: Apache-2.0
// Threads that work through the phases of a step together: a barrier between phases costs about a
// tenth of a microsecond where every thread has a core.
//
//   team.run([&](int me) { first_phase(me); team.barrier(me); second_phase(me); });
//
// Waiting spins without PAUSE, which some hypervisors trap, and gives its core away once that takes
// longer than a phase should; soon, where there are more threads than cores.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace hydrofoil::inference {

class Team {
 public:
  explicit Team(int threads);  // this one included
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }
  // job(0) here, the others on their threads; returns when all are done. No exception may leave it.
  void run(const std::function<void(int me)>& job);
  // All threads of a job, the same number of times each.
  void barrier(int me);
  // This thread's share of [0, count), in whole multiples of `grain`.
  std::pair<size_t, size_t> share(int me, size_t count, size_t grain = 1) const;

 private:
  struct alignas(128) Side {
    std::atomic<uint32_t> arrived{0};
    uint32_t epoch = 0;  // its own thread's
  };
  void work(int me);

  const int size_;
  const int spins_;  // polls before a waiting thread gives its core away
  std::unique_ptr<Side[]> sides_;
  std::vector<std::thread> threads_;
  // A round begins with a new number; between rounds the others sleep on it.
  std::atomic<uint32_t> round_{0};
  const std::function<void(int)>* job_ = nullptr;  // null: the end
};

}  // namespace hydrofoil::inference
