// SPDX-License-Identifier: Apache-2.0
// Reads and writes that go on beside the caller.
//
//   AsyncIo io({.block_bytes = 1 << 20, .queue_depth = 8});
//   Transfer next = io.read(file, offset, buffer);   // returns at once; the buffer is taken
//   compute(previous);
//   next.wait();                                      // throws what a blocking read would throw
//
// A transfer is cut into blocks, of which so many are under way at a time (the two knobs of
// DeepSpeed's "aio" section). One thread drives the kernel's io_uring; where the kernel refuses
// that (old, or forbidden in a container), queue_depth threads make blocking calls instead. Where
// the kernel blocks inside a submission (a file system without asynchronous direct I/O), several
// such threads help.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "hydrofoil/io/file.h"

namespace hydrofoil::io {

struct AsyncIoOptions {
  size_t block_bytes = size_t{1} << 20;  // a multiple of kDirectAlign
  int queue_depth = 8;                   // of each thread
  int threads = 1;                       // that drive a ring each
  bool uring = true;                     // false: threads, whatever the kernel offers
};

// What one read or write became. Copies are the same transfer.
class Transfer {
 public:
  struct State;
  Transfer() = default;  // one that is complete
  explicit Transfer(std::shared_ptr<State> state) : state_(std::move(state)) {}
  // Until every block is done; then throws the first Error, if there was one, at every call.
  void wait() const;

 private:
  std::shared_ptr<State> state_;
};

struct IoCounters {
  uint64_t read_bytes = 0, written_bytes = 0;
  double busy_seconds = 0;  // with at least one block under way or waiting
};

class BlockQueue;

// Thread-safe. Blocks start in the order of the calls.
class AsyncIo {
 public:
  explicit AsyncIo(const AsyncIoOptions& options = {});
  ~AsyncIo();  // waits for what is under way
  AsyncIo(const AsyncIo&) = delete;
  AsyncIo& operator=(const AsyncIo&) = delete;

  // File and memory must stay until the transfer is complete.
  Transfer read(const File& file, uint64_t offset, std::span<std::byte> out);
  Transfer write(const File& file, uint64_t offset, std::span<const std::byte> data);

  std::string_view backend() const;  // "io_uring" or "threads"
  IoCounters counters() const;

 private:
  class Workers;
  const size_t block_bytes_;
  std::unique_ptr<BlockQueue> queue_;
  std::unique_ptr<Workers> workers_;
};

}  // namespace hydrofoil::io
