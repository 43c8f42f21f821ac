// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/monitor/line_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <utility>

#include "hydrofoil/core/error.h"
#include "hydrofoil/core/log.h"

namespace hydrofoil::monitor {
namespace {

int open_for_append(const std::string& path, int flags) {
  const int descriptor =
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | flags, 0644);
  if (descriptor < 0)
    throw Error(ExitCode::kError, errno_message("open"), path,
                "does the folder exist, and may this user write there?");
  return descriptor;
}

// Bytes of the leading lines that are whole and kept.
off_t kept_bytes(const std::string& path, const std::function<bool(std::string_view)>& keep) {
  std::ifstream in(path, std::ios::binary);
  off_t bytes = 0;
  for (std::string line; std::getline(in, line) && !in.eof() && keep(line);)
    bytes += static_cast<off_t>(line.size()) + 1;
  return bytes;
}

bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

LineFile LineFile::of_descriptor(int descriptor, std::string name) {
  return {descriptor, false, std::move(name)};
}

LineFile LineFile::create(const std::string& path) {
  return {open_for_append(path, O_TRUNC), true, path};
}

LineFile LineFile::resume(const std::string& path,
                          const std::function<bool(std::string_view)>& keep) {
  const off_t bytes = kept_bytes(path, keep);
  LineFile file(open_for_append(path, 0), true, path);
  if (::ftruncate(file.descriptor_, bytes) != 0)
    throw Error(ExitCode::kError, errno_message("ftruncate"), path);
  return file;
}

LineFile::LineFile(LineFile&& other) noexcept
    : descriptor_(other.descriptor_),
      owned_(std::exchange(other.owned_, false)),
      warned_(other.warned_),
      name_(std::move(other.name_)) {}

LineFile::~LineFile() {
  if (owned_) ::close(descriptor_);
}

void LineFile::write(std::string line) {
  line += '\n';
  append(line);
}

void LineFile::append(std::string_view record) {
  struct stat before = {};
  const bool file = ::fstat(descriptor_, &before) == 0 && S_ISREG(before.st_mode);
  if (write_all(descriptor_, record)) return;
  if (!warned_)
    log::warn(name_ + ": " + errno_message("write") +
              "; records are missing from here on, the run goes on");
  warned_ = true;
  // A half record would join the next one.
  if (file && ::ftruncate(descriptor_, before.st_size) == 0)
    ::lseek(descriptor_, before.st_size, SEEK_SET);
}

bool LineFile::empty() const {
  struct stat now = {};
  return ::fstat(descriptor_, &now) == 0 && now.st_size == 0;
}

}  // namespace hydrofoil::monitor
