// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::io {
namespace {

// Linux moves at most 0x7ffff000 bytes a call; a rounder number keeps later offsets aligned.
constexpr size_t kMaxCallBytes = size_t{1} << 30;

std::string hint_for(int error, const std::filesystem::path& path, uint64_t needed_bytes) {
  if (error == ENOSPC || error == EDQUOT) {
    struct statvfs info{};
    std::string hint = std::to_string(needed_bytes) + " bytes were needed";
    if (::statvfs(path.parent_path().empty() ? "." : path.parent_path().c_str(), &info) == 0)
      hint += ", " + std::to_string(uint64_t{info.f_bavail} * info.f_frsize) + " are free there";
    return hint + "; free some space or choose another folder";
  }
  if (error == EFBIG)
    return std::to_string(needed_bytes) + " bytes were needed; see ulimit -f and the file system";
  if (error == EROFS || error == EACCES || error == EPERM)
    return "check the rights of the folder and whether it is mounted read-only";
  return {};
}

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& path, int error,
                       uint64_t needed_bytes = 0) {
  throw Error(ExitCode::kError, what + ": " + std::strerror(error), path.string(),
              hint_for(error, path, needed_bytes));
}

std::string span_text(uint64_t count, uint64_t offset) {
  return std::to_string(count) + " bytes at offset " + std::to_string(offset);
}

}  // namespace

File::File(std::filesystem::path path, Access access) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe by mistake must fail below, not wait for a writer.
  int flags = O_CLOEXEC | O_NONBLOCK;
  flags |= access == Access::kRead ? O_RDONLY : O_RDWR;
  if (access == Access::kCreate) flags |= O_CREAT | O_EXCL;
  descriptor_ = ::open(path_.c_str(), flags, 0666);
  if (descriptor_ < 0)
    fail(access == Access::kCreate ? "cannot create" : "cannot open", path_, errno);
  struct stat info{};
  const int error = ::fstat(descriptor_, &info) == 0 ? 0 : errno;
  if (error == 0 && S_ISREG(info.st_mode)) return;
  ::close(std::exchange(descriptor_, -1));
  if (error != 0) fail("cannot open", path_, error);
  throw Error(ExitCode::kError, "is not a regular file", path_.string());
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File File::scratch(std::filesystem::path folder) {
  constexpr int kFlags = O_TMPFILE | O_RDWR | O_CLOEXEC;
  int descriptor = ::open(folder.c_str(), kFlags | O_DIRECT, 0600);
  if (descriptor < 0 && errno == EINVAL) descriptor = ::open(folder.c_str(), kFlags, 0600);
  if (descriptor < 0) fail("cannot create a scratch file in this folder", folder, errno);
  return {std::move(folder), descriptor};
}

File File::open_direct(std::filesystem::path path) {
  constexpr int kFlags = O_RDONLY | O_CLOEXEC;
  int descriptor = ::open(path.c_str(), kFlags | O_DIRECT);
  if (descriptor < 0 && errno == EINVAL) descriptor = ::open(path.c_str(), kFlags);
  if (descriptor < 0) fail("cannot open", path, errno);
  return {std::move(path), descriptor};
}

bool File::direct() const {
  return (::fcntl(descriptor_, F_GETFL) & O_DIRECT) != 0;
}

uint64_t File::size_bytes() const {
  struct stat info{};
  if (::fstat(descriptor_, &info) != 0) fail("cannot ask for the size", path_, errno);
  return static_cast<uint64_t>(info.st_size);
}

void File::read_at(uint64_t offset, std::span<std::byte> out) const {
  const std::string wanted = span_text(out.size(), offset);
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), std::min(out.size(), kMaxCallBytes),
                                static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read " + wanted, path_, errno);
    if (got == 0)
      throw Error(ExitCode::kError,
                  "cannot read " + wanted + ": the file ends at " + std::to_string(size_bytes()),
                  path_.string());
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
}

void File::write_at(uint64_t offset, std::span<const std::byte> data) const {
  const uint64_t total = data.size(), begin = offset;
  while (!data.empty()) {
    const ssize_t put = ::pwrite(descriptor_, data.data(), std::min(data.size(), kMaxCallBytes),
                                 static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("cannot write " + span_text(total, begin), path_, errno, data.size());
    offset += static_cast<uint64_t>(put);
    data = data.subspan(static_cast<size_t>(put));
  }
}

void File::reserve(uint64_t size) const {
  if (size == 0) return;
  int error = EINTR;
  while (error == EINTR) error = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(size));
  if (error != 0) fail("cannot reserve " + std::to_string(size) + " bytes", path_, error, size);
}

void File::begin_sync(uint64_t offset, uint64_t bytes) const {
  ::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                    SYNC_FILE_RANGE_WRITE);
}

void File::sync() const {
  if (::fsync(descriptor_) != 0) fail("cannot sync", path_, errno);
}

MappedFile::MappedFile(const File& file) {
  const auto size = static_cast<size_t>(file.size_bytes());
  if (size == 0) return;  // mmap refuses empty files
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (start == MAP_FAILED)
    fail("cannot map " + std::to_string(size) + " bytes", file.path(), errno);
  bytes_ = {static_cast<const std::byte*>(start), size};
}

void MappedFile::let_go() const {
  if (!bytes_.empty())
    ::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

std::string read_text(const std::filesystem::path& path, uint64_t max_bytes) {
  const File file(path, Access::kRead);
  const uint64_t size = file.size_bytes();
  if (size > max_bytes)
    throw Error(ExitCode::kError,
                "has " + std::to_string(size) + " bytes, at most " + std::to_string(max_bytes) +
                    " are expected",
                path.string());
  std::string text(static_cast<size_t>(size), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void atomic_write(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::path aside = path;
  aside += ".tmp-" + unique_id();
  try {
    const File file(aside, Access::kCreate);
    file.write_at(0, std::as_bytes(std::span(text)));
    file.sync();
    rename_path(aside, path);
  } catch (...) {
    ::unlink(aside.c_str());
    throw;
  }
  sync_directory(path.parent_path());
}

void sync_directory(const std::filesystem::path& folder) {
  const char* name = folder.empty() ? "." : folder.c_str();
  const int descriptor = ::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail("cannot open folder", folder, errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some network file systems have nothing to sync in a folder and say so.
  if (error != 0 && error != EINVAL && error != ENOTSUP) fail("cannot sync folder", folder, error);
}

void rename_path(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0)
    fail("cannot rename to " + to.filename().string(), from, errno);
}

bool exchange_paths(const std::filesystem::path& a, const std::filesystem::path& b) {
  if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return true;
  if (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP) return false;
  fail("cannot exchange with " + b.filename().string(), a, errno);
}

uint64_t free_space_bytes(const std::filesystem::path& path) {
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0) fail("cannot ask for the free space", path, errno);
  return uint64_t{info.f_bavail} * info.f_frsize;
}

std::string_view not_a_local_disk(const std::filesystem::path& folder) {
  struct statfs info{};
  if (::statfs(folder.c_str(), &info) != 0) fail("cannot ask for the file system", folder, errno);
  switch (static_cast<uint64_t>(info.f_type)) {
    case TMPFS_MAGIC:
      return "tmpfs";
    case RAMFS_MAGIC:
      return "ramfs";
    case NFS_SUPER_MAGIC:
      return "nfs";
    case 0xff534d42:  // CIFS
    case SMB2_SUPER_MAGIC:
      return "smb";
    case V9FS_MAGIC:
      return "9p";
    default:
      return {};
  }
}

std::string unique_id() {
  std::random_device random;
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%08x%08x", random(), random());
  return text.data();
}

}  // namespace hydrofoil::io
