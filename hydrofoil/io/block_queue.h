// SPDX-License-Identifier: Apache-2.0
// Blocks of transfers on their way to whoever performs them. Private to async_io.cpp and uring.cpp.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "hydrofoil/io/async_io.h"

namespace hydrofoil::io {

struct Transfer::State {
  std::mutex mutex;
  std::condition_variable done;
  size_t blocks = 0;  // not yet complete
  std::exception_ptr error;
};

struct Block {
  const File* file = nullptr;
  uint64_t offset = 0;
  std::byte* data = nullptr;  // not written through when `write`
  size_t size = 0;
  bool write = false;
  std::shared_ptr<Transfer::State> transfer = nullptr;

  // What is left after the first `done` bytes, by blocking calls: they deal with interruptions,
  // short counts and errors.
  void finish(size_t done) const;
};

// Thread-safe.
class BlockQueue {
 public:
  void push(std::vector<Block> blocks);
  // Up to `most` blocks in order; waits for one when none is there and `wait` is set. Empty then
  // only after close().
  std::vector<Block> pop(size_t most, bool wait);
  // Performs what is left of a block and counts it as complete.
  void complete(const Block& block, size_t done);
  void close();
  IoCounters counters() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Block> pending_;
  size_t unfinished_ = 0;
  bool closed_ = false;
  IoCounters counters_;
  std::chrono::steady_clock::time_point busy_since_;
};

// The kernel's io_uring, where it lets us have one.
class Uring {
 public:
  explicit Uring(unsigned depth);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  explicit operator bool() const { return ring_ != nullptr; }
  // Keeps `depth` blocks under way until the queue is closed and empty.
  void serve(BlockQueue& queue);

 private:
  class Ring;
  std::unique_ptr<Ring> ring_;
  const unsigned depth_;
};

}  // namespace hydrofoil::io
