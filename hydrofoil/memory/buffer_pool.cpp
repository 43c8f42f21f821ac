// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/buffer_pool.h"

#include <sys/mman.h>

#include <cstring>
#include <string>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::memory {
namespace {

// Its own mapping: freeing it gives the pages back whatever the allocator's thresholds are. Empty
// where there is no more to be had.
BufferPool::Bytes try_map(size_t bytes) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return {};
  madvise(address, bytes, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(address), [bytes](std::byte* p) { munmap(p, bytes); }};
}

}  // namespace

BufferPool::Bytes BufferPool::take(size_t bytes, size_t idle_bytes) {
  {
    std::lock_guard lock(mutex_);
    if (auto it = idle_.find(bytes); it != idle_.end()) {
      Bytes buffer = std::move(it->second.back());
      it->second.pop_back();
      if (it->second.empty()) idle_.erase(it);
      idle_bytes_ -= bytes;
      return buffer;
    }
  }
  trim(idle_bytes);
  Bytes buffer = try_map(bytes);
  if (!buffer) {
    trim(0);
    buffer = try_map(bytes);
  }
  if (!buffer)
    throw Error(ExitCode::kDoesNotFit, "cannot allocate " + std::to_string(bytes) + " bytes",
                "host memory", "see `hydrofoil plan` for the smallest change that fits");
  ledger_.add(category_, bytes);
  return buffer;
}

void BufferPool::give_back(Bytes buffer, size_t bytes) {
#ifdef HYDROFOIL_DEBUG
  std::memset(buffer.get(), 0xff, bytes);
#endif
  std::lock_guard lock(mutex_);
  idle_[bytes].push_back(std::move(buffer));
  idle_bytes_ += bytes;
}

void BufferPool::trim(size_t idle_bytes) {
  std::lock_guard lock(mutex_);
  while (idle_bytes_ > idle_bytes) {
    auto victim = idle_.lower_bound(idle_bytes_ - idle_bytes);
    if (victim == idle_.end()) --victim;
    idle_bytes_ -= victim->first;
    ledger_.remove(category_, victim->first);
    victim->second.pop_back();
    if (victim->second.empty()) idle_.erase(victim);
  }
}

size_t BufferPool::idle_bytes() const {
  std::lock_guard lock(mutex_);
  return idle_bytes_;
}

}  // namespace hydrofoil::memory
