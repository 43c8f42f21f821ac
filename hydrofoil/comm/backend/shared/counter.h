// SPDX-License-Identifier: Apache-2.0
// A number that grows and that others wait for, in memory shared by threads or processes.
//
// Not std::atomic::wait: libstdc++ waits on process-private futexes.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <climits>
#include <cstdint>
#include <ctime>

namespace hydrofoil::comm {

class Counter {  // lies in zeroed memory
 public:
  uint64_t get() const { return value_.load(std::memory_order_acquire); }
  bool reached(uint64_t value) const { return get() >= value; }

  // By one writer only. Sequentially consistent against sleep(): either the writer sees the waiter,
  // or the waiter sees the value.
  void set(uint64_t value) {
    value_.store(value, std::memory_order_seq_cst);
    wake();
  }
  // By several writers; never goes back.
  void raise(uint64_t value) {
    uint64_t seen = value_.load(std::memory_order_relaxed);
    while (seen < value && !value_.compare_exchange_weak(seen, value)) {
    }
    wake();
  }

  // Sleeps while the value is still `seen`, at most so long; may wake early.
  void sleep(uint64_t seen, long nanoseconds) const {
    waiters_.fetch_add(1, std::memory_order_seq_cst);
    const timespec limit{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    syscall(SYS_futex, futex_word(), FUTEX_WAIT, static_cast<uint32_t>(seen), &limit, nullptr, 0);
    waiters_.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  void wake() {
    if (waiters_.load(std::memory_order_seq_cst))
      syscall(SYS_futex, futex_word(), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }
  const void* futex_word()
      const {  // the kernel compares 32 bits: the low half changes with each step
    static_assert(std::endian::native == std::endian::little);
    return &value_;
  }

  std::atomic<uint64_t> value_;
  mutable std::atomic<uint32_t> waiters_;
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace hydrofoil::comm
