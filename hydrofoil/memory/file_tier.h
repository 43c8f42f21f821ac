// SPDX-License-Identifier: Apache-2.0
// What a rank keeps but does not use all the time, in a file instead of in memory.
//
//   FileTier tier({.folder = "/mnt/nvme"}, ledger, Category::kOptimizer);
//   pieces.push_back(tier.add(8 << 20));                       // zeros, no I/O yet
//   tier.visit(pieces, [&](size_t i, std::span<std::byte> data) { update(i, data); });
//
// A piece is read and written whole. While one is with the visitor the next are being read and the
// last ones written back, within a fixed number of buffers: that, not the state, is what memory
// holds. The file has no name (io::File::scratch): nothing is left of it, however the process ends.
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
  enum class Use : uint8_t { kRead, kUpdate };
  using Visitor = std::function<void(size_t index, std::span<std::byte> data)>;

  FileTier(FileTierOptions options, Ledger& ledger, Category category);

  // A piece of `bytes`, rounded up to io::kDirectAlign; zeros until it is updated. Its space is
  // taken at once: a full disk shows here.
  Piece add(size_t bytes);
  uint64_t bytes() const { return file_bytes_; }

  // Brings each piece into memory, in this order; `index` counts from 0. With kUpdate, what the
  // visitor leaves is written back; all of it is in the file when this returns.
  void visit(std::span<const Piece> pieces, Use use, const Visitor& visitor);

  io::IoCounters counters() const { return io_.counters(); }

 private:
  struct Place {
    uint64_t offset = 0;
    size_t bytes = 0;
    bool written = false;
    uint64_t checksum = 0;
  };
  class Pipeline;

  const FileTierOptions options_;
  const io::File file_;
  io::AsyncIo io_;
  BufferPool pool_;
  std::vector<Place> places_;
  uint64_t file_bytes_ = 0;
};

}  // namespace hydrofoil::memory
