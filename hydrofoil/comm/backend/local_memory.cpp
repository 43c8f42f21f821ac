// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/local_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace hydrofoil::comm {
namespace {

constexpr size_t kMapFromBytes = 256 << 10;  // zero pages come from the system, and go back to it

}  // namespace

SharedBytes local_memory(size_t bytes) {
  if (bytes >= kMapFromBytes) {
    void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) throw std::bad_alloc();
    return {static_cast<std::byte*>(base), [bytes](std::byte* p) { munmap(p, bytes); }};
  }
  const size_t rounded = (bytes + 63) / 64 * 64 + (bytes ? 0 : 64);
  void* base = std::aligned_alloc(64, rounded);
  if (!base) throw std::bad_alloc();
  std::memset(base, 0, rounded);
  return {static_cast<std::byte*>(base), [](std::byte* p) { std::free(p); }};
}

}  // namespace hydrofoil::comm
