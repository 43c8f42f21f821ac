// SPDX-License-Identifier: Apache-2.0
// What a rank keeps but does not use all the time, in a file instead of in memory.
//
//   FileTier tier({.folder = "/mnt/nvme"}, ledger, Category::kOptimizer);
//   pieces.push_back(tier.add({4 << 20, 4 << 20}));            // two parts of zeros, no I/O yet
//   tier.visit(pieces, Use::kUpdate, [&](size_t i, std::span<const Part> parts) { .. });
//
// A piece is visited whole, all its parts in memory. While one is with the visitor the next are
// being read and the last ones written back, within a fixed number of buffers: that, not the state,
// is what memory holds. The file has no name (io::File::scratch): nothing is left of it, however
// the process ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "hydrofoil/io/async_io.h"
#include "hydrofoil/memory/buffer_pool.h"

namespace hydrofoil::memory {

struct FileTierOptions {
  std::filesystem::path folder;
  io::AsyncIoOptions io = {};
  size_t buffers = 4;  // at least 3: one with the visitor, one being read, one being written
};

// One thread at a time. Errors of the file name the folder; a piece that comes back other than it
// was written is an Error too.
class FileTier {
 public:
  using Piece = size_t;
  using Part = std::span<std::byte>;
  enum class Use : uint8_t { kRead, kUpdate };
  using Visitor = std::function<void(size_t index, std::span<const Part> parts)>;

  FileTier(FileTierOptions options, Ledger& ledger, Category category);
  ~FileTier();
  FileTier(const FileTier&) = delete;
  FileTier& operator=(const FileTier&) = delete;

  // Parts of so many bytes, each page-aligned when visited; zeros until then. Their space is taken
  // at once: a full disk shows here.
  Piece add(std::span<const size_t> part_bytes);
  uint64_t bytes() const { return file_bytes_; }

  // Brings each piece into memory, in this order; `index` counts from 0. With kUpdate, what the
  // visitor leaves is written back; all of it is in the file when this returns.
  void visit(std::span<const Piece> pieces, Use use, const Visitor& visitor);
  // One part, from byte `begin` on. Consecutive calls for one part read the file once.
  void read(Piece piece, size_t part, size_t begin, std::span<std::byte> out);

  io::IoCounters counters() const { return io_.counters(); }

 private:
  struct Stored {  // a part
    size_t begin = 0, bytes = 0;
    uint64_t checksum = 0;
  };
  struct Place {
    uint64_t offset = 0;
    size_t bytes = 0;  // of all parts, each rounded up to io::kDirectAlign
    std::vector<Stored> parts;
    bool written = false;
  };
  void forget_last_read();
  void check(const Place& place, const Stored& part, std::span<const std::byte> data) const;
  class Pipeline;

  const FileTierOptions options_;
  const io::File file_;
  io::AsyncIo io_;
  BufferPool pool_;
  std::vector<Place> places_;
  uint64_t file_bytes_ = 0;
  struct {
    Piece piece = 0;
    size_t part = 0, bytes = 0;  // 0: nothing
    BufferPool::Bytes buffer;
  } last_read_;
};

}  // namespace hydrofoil::memory
