// SPDX-License-Identifier: Apache-2.0
// Bounded memory between a thread that must go on and one that writes to a disk.
//
//   CopyBuffer buffer(size_t{1} << 30);
//   buffer.put(0, 0, bytes);  buffer.put(1, 0, more);  buffer.end();     // one thread
//   buffer.drain([&](size_t fragment, uint64_t offset, auto part) {..}); // the other, meanwhile
//
// put() waits only when the buffer is full, and nothing is drained before that or the end: until
// then the copy has processors and memory for itself. The memory is taken once and kept: a second
// round finds its pages warm.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>

namespace hydrofoil::checkpoint {

// Takes the next bytes of a fragment: `offset` is where they begin in it.
using FragmentSink =
    std::function<void(size_t fragment, uint64_t offset, std::span<const std::byte> part)>;

class CopyBuffer {
 public:
  explicit CopyBuffer(size_t bytes);

  size_t bytes() const { return bytes_; }
  // Copies the bytes of a fragment from `offset` on, with the compute threads. One thread only.
  // Returns early once closed.
  void put(size_t fragment, uint64_t offset, std::span<const std::byte> bytes);
  // There is no more to come.
  void end();
  // Gives all that is put, in order, until end(). One thread only.
  void drain(const FragmentSink& sink);
  // Whoever drains has given up: what is put from now on is dropped.
  void close();
  // For the next round, when both threads are done.
  void reset();

 private:
  struct Part {
    size_t fragment;
    uint64_t offset;
    std::span<const std::byte> bytes;
  };
  std::span<std::byte> room(size_t wanted);

  const size_t bytes_;
  std::unique_ptr<std::byte[]> memory_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Part> parts_;
  size_t head_ = 0, used_ = 0;  // a ring: where the next part goes; bytes that are not drained yet
  bool filled_ = false, ended_ = false, closed_ = false;
};

}  // namespace hydrofoil::checkpoint
