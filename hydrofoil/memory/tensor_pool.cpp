// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/tensor_pool.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "hydrofoil/core/align.h"
#include "hydrofoil/memory/buffer_pool.h"

namespace hydrofoil::memory {
namespace {

constexpr size_t kLeastBytes = 256 << 10;

// libtorch hands some blocks around without their context (raw_allocate), so that one deleter must
// know all of them by their address.
class TensorPool final : public c10::Allocator {
 public:
  // Never destroyed: tensors may outlive all statics.
  static TensorPool& instance() {
    static auto* const pool = new TensorPool(*c10::GetCPUAllocator());
    return *pool;
  }

  c10::DataPtr allocate(size_t bytes) override {
    void* data =
        bytes < kLeastBytes ? small_.raw_allocate(bytes) : take(round_up(bytes, kPageBytes));
    return {data, data, &TensorPool::free, c10::DeviceType::CPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &TensorPool::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  struct Block {
    BufferPool::Bytes buffer;
    size_t bytes = 0;
  };

  explicit TensorPool(c10::Allocator& small) : small_(small) {}

  void* take(size_t bytes) {
    size_t spare = 0;  // below the peak once these are taken
    {
      std::lock_guard lock(mutex_);
      spare = peak_bytes_ - std::min(peak_bytes_, live_bytes_ + bytes);
    }
    Block block{pool_.take(bytes, spare), bytes};
    void* data = block.buffer.get();
    std::lock_guard lock(mutex_);
    live_bytes_ += bytes;
    peak_bytes_ = std::max(peak_bytes_, live_bytes_);
    taken_.emplace(data, std::move(block));
    return data;
  }

  static void free(void* data) {
    auto& pool = instance();
    if (reinterpret_cast<uintptr_t>(data) % kPageBytes != 0 || !pool.give_back(data))
      pool.small_.raw_deallocate(data);
  }

  bool give_back(void* data) {
    Block block;
    {
      std::lock_guard lock(mutex_);
      const auto found = taken_.find(data);
      if (found == taken_.end()) return false;
      block = std::move(found->second);
      taken_.erase(found);
      live_bytes_ -= block.bytes;
    }
    pool_.give_back(std::move(block.buffer), block.bytes);
    return true;
  }

  c10::Allocator& small_;
  Ledger ledger_;  // not the engine's, which does not count what autograd keeps
  BufferPool pool_{ledger_, Category::kActivations};
  std::mutex mutex_;
  std::unordered_map<void*, Block> taken_;
  size_t live_bytes_ = 0, peak_bytes_ = 0;
};

}  // namespace

void pool_tensors() {
  c10::SetCPUAllocator(&TensorPool::instance(), /*priority=*/1);
}

}  // namespace hydrofoil::memory
