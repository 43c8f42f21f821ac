// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/watched_map.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "hydrofoil/core/align.h"

namespace hydrofoil::io {
namespace {

// Read by the handler, which may run on any thread at any moment: hence no locks and no pointers.
struct Watch {
  bool taken = false;  // guarded by `installing`; the handler does not look
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> torn{false};
};
std::array<Watch, 16> watches;

std::mutex installing;
size_t installed_for = 0;  // watches that live
struct sigaction previous;
const auto page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));

// From the missing page on there is nothing: zeros take its place, and the access is tried again.
bool fill_with_zeros(uintptr_t address) {
  for (Watch& watch : watches) {
    const uintptr_t end = watch.end, page = address & ~(page_bytes - 1);
    if (address < watch.begin || address >= end) continue;
    watch.torn = true;
    return ::mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void*) {
  const int saved = errno;
  const bool sent = info->si_code <= 0;  // by a process, not by an access
  if (sent || !fill_with_zeros(reinterpret_cast<uintptr_t>(info->si_addr))) {
    ::sigaction(SIGBUS, &previous, nullptr);  // the access is tried again and meets that one
    if (sent) ::raise(signal);
  }
  errno = saved;
}

void install() {
  struct sigaction action{};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, &previous);
}

void uninstall() {
  struct sigaction current{};
  ::sigaction(SIGBUS, nullptr, &current);
  if (current.sa_sigaction == on_bus_error) ::sigaction(SIGBUS, &previous, nullptr);
}

}  // namespace

WatchedMap::WatchedMap(File file) : file_(std::move(file)), map_(file_) {
  const std::lock_guard lock(installing);
  const auto free = std::ranges::find_if(watches, [](const Watch& watch) { return !watch.taken; });
  if (free == watches.end()) throw std::logic_error("WatchedMap: too many at a time");
  watch_ = static_cast<size_t>(free - watches.begin());
  if (installed_for++ == 0) install();
  free->taken = true;
  free->torn = false;
  free->begin = reinterpret_cast<uintptr_t>(bytes().data());
  free->end = free->begin + round_up(bytes().size(), page_bytes);
}

WatchedMap::~WatchedMap() {
  const std::lock_guard lock(installing);
  watches[watch_].end = 0;
  watches[watch_].taken = false;
  if (--installed_for == 0) uninstall();
}

bool WatchedMap::intact() const {
  return !watches[watch_].torn && file_.size_bytes() >= bytes().size();
}

}  // namespace hydrofoil::io
