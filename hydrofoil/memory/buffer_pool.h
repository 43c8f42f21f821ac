// SPDX-License-Identifier: Apache-2.0
// Large host buffers that come and go: kept for the next taker of the same size, so that a resident
// copy costs no page faults once the first step has run.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "hydrofoil/memory/ledger.h"

namespace hydrofoil::memory {

// Thread-safe. Idle buffers are counted in the ledger: they are memory, whoever uses them.
class BufferPool {
 public:
  using Bytes = std::shared_ptr<std::byte[]>;

  BufferPool(Ledger& ledger, Category category) : ledger_(ledger), category_(category) {}
  ~BufferPool() { trim(0); }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // Page-aligned, content undefined. When no idle buffer fits, a new one is mapped, and of the idle
  // ones at most idle_bytes stay.
  Bytes take(size_t bytes, size_t idle_bytes);
  // Overwritten with NaN in debug builds: a stale read spoils the result instead of passing.
  void give_back(Bytes buffer, size_t bytes);
  // Unmaps idle buffers until at most this many idle bytes remain: the smallest that is enough,
  // else the largest first.
  void trim(size_t idle_bytes);
  size_t idle_bytes() const;

 private:
  Ledger& ledger_;
  const Category category_;
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<Bytes>> idle_;  // by size
  size_t idle_bytes_ = 0;
};

}  // namespace hydrofoil::memory
