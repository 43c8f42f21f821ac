// SPDX-License-Identifier: Apache-2.0
// Files whose every failure says which path, what was tried and what the system answered.
//
//   File file(path, Access::kCreate);
//   file.reserve(1 << 30);              // a full disk shows here, not in the middle of a write
//   file.write_at(offset, bytes);       // loops over partial writes and interruptions
//   file.sync();
//
// Failures are Error(kError) with the path as `where`. A process that lives under a file-size limit
// must ignore SIGXFSZ to see them: the default action of that signal ends it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace hydrofoil::io {

enum class Access : uint8_t {
  kRead,
  kReadWrite,
  kCreate,  // fails when the file exists
};

// Direct I/O wants offsets, sizes and addresses that are multiples of this: of the block of every
// device there is.
constexpr size_t kDirectAlign = 4096;

// A regular file, read and written at offsets. Thread-safe but for move and close().
class File {
 public:
  File(std::filesystem::path path, Access access);
  // A new file without a name in this folder: it is gone when closed, also after a crash. Where the
  // file system can, it is read and written past the page cache, and then only by multiples of
  // kDirectAlign.
  static File scratch(std::filesystem::path folder);
  // A file that exists, for reading, past the page cache where the file system can.
  static File open_direct(std::filesystem::path path);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();  // an error of closing is lost: writers call sync() before

  const std::filesystem::path& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  uint64_t size_bytes() const;
  bool direct() const;  // past the page cache

  // All of out; an Error when the file ends before.
  void read_at(uint64_t offset, std::span<std::byte> out) const;
  void write_at(uint64_t offset, std::span<const std::byte> data) const;
  // Makes the file at least `size` bytes long with its blocks allocated.
  void reserve(uint64_t size) const;
  // Asks the system to begin writing these bytes to the device. A hint: nothing is promised.
  void begin_sync(uint64_t offset, uint64_t bytes) const;
  void sync() const;  // data and metadata have reached the device

 private:
  File(std::filesystem::path path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}

  std::filesystem::path path_;
  int descriptor_ = -1;
};

// The whole file, read-only, mapped while this lives. A file that shrinks meanwhile raises SIGBUS
// on access: map what nobody rewrites in place, and read_at() the rest.
class MappedFile {
 public:
  explicit MappedFile(const File& file);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  // Its pages leave this process (not the page cache) until they are touched again: what was read
  // once does not count as memory of whoever goes on.
  void let_go() const;

 private:
  std::span<const std::byte> bytes_;
};

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 28;

// The whole file; an Error when it is larger than max_bytes.
std::string read_text(const std::filesystem::path& path, uint64_t max_bytes = kMaxTextBytes);
// The path holds either what it held or all of `text`, also after a crash: written aside, synced,
// renamed, and the folder synced.
void atomic_write(const std::filesystem::path& path, std::string_view text);

void sync_directory(const std::filesystem::path& folder);
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
// The two names change places in one step, which no crash can divide; false where the file system
// cannot do that.
bool exchange_paths(const std::filesystem::path& a, const std::filesystem::path& b);
uint64_t free_space_bytes(const std::filesystem::path& path);
// "tmpfs", "nfs", .. where files of this folder lie in memory or on another machine; else nothing.
std::string_view not_a_local_disk(const std::filesystem::path& folder);

// A fresh name part for things written aside: 16 hexadecimal digits.
std::string unique_id();

}  // namespace hydrofoil::io
