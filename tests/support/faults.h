// SPDX-License-Identifier: Apache-2.0
// Disks that fail under a file that is open, as a process sees them.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <iterator>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace hydrofoil::test {

inline size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

// Of the files without a name in this folder, one each, in the order they were opened (nothing may
// have been closed in between).
inline std::vector<int> scratch_descriptors(const std::filesystem::path& folder) {
  std::vector<int> found;
  std::set<ino_t> seen;
  for (int fd = 0; fd < 1024; ++fd) {
    std::error_code none;
    const auto target =
        std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), none).string();
    struct stat info{};
    if (target.starts_with(folder.string()) && target.ends_with("(deleted)") &&
        ::fstat(fd, &info) == 0 && seen.insert(info.st_ino).second)
      found.push_back(fd);
  }
  return found;
}

enum class Fault : uint8_t {
  kDevice,     // EIO, whatever is asked
  kTruncated,  // the file ends before what is read
  kGarbage,    // other bytes come back; nothing can be written
  kNoGrowth,   // nothing can be written beyond its first 4 KiB (the limit of all files)
};

// From now on until this is gone; what was broken stays so.
class BrokenFile {
 public:
  BrokenFile(int descriptor, Fault fault) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    switch (fault) {
      case Fault::kDevice:  // nothing is mapped at its first addresses
        replace(descriptor, "/proc/self/mem");
        break;
      case Fault::kGarbage:
        replace(descriptor, "/dev/full");
        break;
      case Fault::kTruncated:
        require(::ftruncate(descriptor, 0) == 0);
        break;
      case Fault::kNoGrowth: {
        handler_ = std::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{.rlim_cur = 4096, .rlim_max = before_.rlim_max};
        require(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
      }
    }
  }
  ~BrokenFile() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    if (handler_) std::signal(SIGXFSZ, handler_);
  }
  BrokenFile(const BrokenFile&) = delete;
  BrokenFile& operator=(const BrokenFile&) = delete;

 private:
  static void require(bool done) {
    if (!done) throw std::logic_error("BrokenFile: cannot break it");
  }
  static void replace(int descriptor, const char* by) {
    const int other = ::open(by, O_RDWR | O_CLOEXEC);
    require(other >= 0 && ::dup3(other, descriptor, O_CLOEXEC) == descriptor);
    ::close(other);
  }

  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

}  // namespace hydrofoil::test
