// SPDX-License-Identifier: Apache-2.0
// Where a rank keeps what it does not use all the time: pieces of a file.
//
//   FileTier tier({.folder = "/mnt/nvme"}, ledger, Category::kOptimizer);
//   const auto piece = tier.add(4 << 20);      // zeros, no I/O yet
//   io::Transfer write = tier.begin_write(piece, buffer);
//
// Columns of numbers are laid over it, and walked through with read-ahead, by column.h. The file
// has no name (io::File::scratch): nothing is left of it, however the process ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <mutex>
#include <span>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/io/async_io.h"
#include "hydrofoil/memory/buffer_pool.h"

namespace hydrofoil::memory {

struct FileTierOptions {
  std::filesystem::path folder;
  io::AsyncIoOptions io = {};
  // Pieces at a time in memory while they are walked through, at least 3: one is in use, one being
  // read, one being written.
  size_t buffers = 4;
  // Elements of a column in one piece: 4 MiB of fp32 are enough for a disk's full rate. A multiple
  // of kSliceGranule.
  size_t chunk_elements = size_t{1} << 20;
  // Every piece has two places, which are written in turn: the last write can be taken back.
  bool keep_previous = false;
};

// Thread-safe; a piece is in the hands of one thread at a time. Errors of the file name the folder;
// a piece that comes back other than it was written is an Error too.
class FileTier {
 public:
  using Piece = size_t;
  // Where a piece lies and what it must read as: all that a peer needs to know.
  struct Stamp {
    uint64_t offset = 0, checksum = 0;
    uint64_t written = 0;  // 0: it is still zeros, and there is nothing to read
  };

  FileTier(FileTierOptions options, Ledger& ledger, Category category);
  ~FileTier();
  FileTier(const FileTier&) = delete;
  FileTier& operator=(const FileTier&) = delete;

  const FileTierOptions& options() const { return options_; }
  // Zeros, page-aligned in the file. Their space is taken at once: a full disk shows here.
  Piece add(size_t bytes);
  uint64_t bytes() const;  // of the file

  // Opens the files of all ranks of the group, which must be on one host. Collective.
  void open_peers(const comm::Communicator& group);
  // A piece of a peer's file, which `expect` says more of; it can be read only.
  Piece add_of_peer(int rank, size_t bytes);
  Stamp stamp(Piece piece) const { return place(piece).stamp; }
  void expect(Piece piece, const Stamp& stamp) { place(piece).stamp = stamp; }

  // The buffer is page-aligned, of padded_bytes(), and stays until the transfer is complete; what
  // was read is then to be checked. A piece that was never written is zeros at once.
  size_t padded_bytes(Piece piece) const;
  io::Transfer begin_read(Piece piece, std::byte* buffer);
  void check(Piece piece, const std::byte* buffer) const;
  io::Transfer begin_write(Piece piece, const std::byte* buffer);
  // With keep_previous: the piece is again what it was before its last write.
  void take_back(Piece piece);
  // From byte `begin` on. Consecutive calls for one piece read the file once: it stays in memory
  // until another is asked for.
  void read(Piece piece, size_t begin, std::span<std::byte> out);
  void forget_last_read();

  io::IoCounters counters() const { return io_.counters(); }

 private:
  struct Place {
    const io::File* file = nullptr;
    size_t bytes = 0;
    Stamp stamp;
    Stamp previous = {};  // its other place
  };
  Place& place(Piece piece) const;
  Piece add(const Place& place);
  void check(const Place& from, const std::byte* buffer) const;
  void drop_last_read();

  const FileTierOptions options_;
  const io::File file_;
  std::deque<io::File> peers_;  // by rank
  io::AsyncIo io_;
  BufferPool pool_;
  mutable std::mutex mutex_;  // of all below, but not of the places themselves
  mutable std::deque<Place> places_;
  uint64_t file_bytes_ = 0;
  struct {
    Piece piece = 0;
    size_t bytes = 0;  // 0: nothing
    BufferPool::Bytes buffer;
  } last_read_;
};

}  // namespace hydrofoil::memory
