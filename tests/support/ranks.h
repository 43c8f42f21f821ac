// SPDX-License-Identifier: Apache-2.0
// N ranks as threads of the test: run_ranks(4, [](Communicator world) { .. });
#pragma once

#include <barrier>
#include <chrono>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "hydrofoil/comm/backend/thread/thread_world.h"
#include "hydrofoil/core/parallel.h"

namespace hydrofoil::test {

// Runs body(join(r)) in `ranks` threads with one compute thread each; no body begins before all
// have joined. When one throws, the others are woken; the first error is rethrown here.
inline void run_as_threads(int ranks, const std::function<comm::Communicator(int)>& join,
                           const std::function<void(comm::Communicator)>& body) {
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  std::barrier joined(ranks);
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      set_compute_threads(1);
      comm::Communicator handle;
      try {
        handle = join(r);
        joined.arrive_and_wait();
        body(handle);
      } catch (...) {
        if (!handle) joined.arrive_and_drop();
        {
          const std::lock_guard lock(mutex);
          if (!first) first = std::current_exception();
        }
        if (handle) handle.abort("another rank failed");
      }
    });
  for (auto& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

// The same over the memory of this process.
inline void run_ranks(int ranks, const std::function<void(comm::Communicator)>& body,
                      std::chrono::milliseconds timeout = std::chrono::minutes(2)) {
  const comm::ThreadWorld world(ranks, timeout);
  run_as_threads(ranks, [&](int r) { return world.rank(r); }, body);
}

}  // namespace hydrofoil::test
