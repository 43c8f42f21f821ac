// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/copy_buffer.h"

#include <sys/mman.h>

#include <algorithm>

#include "hydrofoil/core/align.h"
#include "hydrofoil/core/parallel.h"
#include "hydrofoil/kernels/reduce.h"

namespace hydrofoil::checkpoint {
namespace {

// What is put and drained at a time: large enough for a disk, small enough to begin early.
constexpr size_t kPartBytes = size_t{8} << 20;
constexpr size_t kCopyGrain = size_t{1} << 20;

// Page faults of small pages would cost more than the copy.
void advise_huge_pages(std::byte* memory, size_t bytes) {
  const auto begin = (reinterpret_cast<uintptr_t>(memory) + kPageBytes - 1) / kPageBytes;
  const auto end = (reinterpret_cast<uintptr_t>(memory) + bytes) / kPageBytes;
  if (begin < end)
    ::madvise(reinterpret_cast<void*>(begin * kPageBytes), (end - begin) * kPageBytes,
              MADV_HUGEPAGE);
}

}  // namespace

CopyBuffer::CopyBuffer(size_t bytes)
    : bytes_(std::max<size_t>(bytes, 1)),
      memory_(std::make_unique_for_overwrite<std::byte[]>(bytes_)) {
  advise_huge_pages(memory_.get(), bytes_);
}

// The next free bytes in a row, at most `wanted` of them; none once closed.
std::span<std::byte> CopyBuffer::room(size_t wanted) {
  std::unique_lock lock(mutex_);
  if (used_ == bytes_) {
    filled_ = true;
    changed_.notify_all();
  }
  changed_.wait(lock, [&] { return closed_ || used_ < bytes_; });
  if (closed_) return {};
  return {memory_.get() + head_, std::min({wanted, kPartBytes, bytes_ - used_, bytes_ - head_})};
}

void CopyBuffer::put(size_t fragment, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto free = room(bytes.size());
    if (free.empty()) return;
    parallel_for(free.size(), kCopyGrain, [&](size_t begin, size_t end) {
      kernels::copy_bytes(free.data() + begin, bytes.data() + begin, end - begin, /*stream=*/true);
    });
    {
      const std::lock_guard lock(mutex_);
      parts_.push_back({fragment, offset, free});
      head_ = (head_ + free.size()) % bytes_;
      used_ += free.size();
    }
    changed_.notify_all();
    offset += free.size();
    bytes = bytes.subspan(free.size());
  }
}

void CopyBuffer::end() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

void CopyBuffer::drain(const FragmentSink& sink) {
  for (;;) {
    Part part{};
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return ended_ || (filled_ && !parts_.empty()); });
      if (parts_.empty()) return;
      part = parts_.front();
      parts_.pop_front();
    }
    sink(part.fragment, part.offset, part.bytes);
    {
      const std::lock_guard lock(mutex_);
      used_ -= part.bytes.size();
    }
    changed_.notify_all();
  }
}

void CopyBuffer::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void CopyBuffer::reset() {
  parts_.clear();
  head_ = used_ = 0;
  filled_ = ended_ = closed_ = false;
}

}  // namespace hydrofoil::checkpoint
