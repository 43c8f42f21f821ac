// SPDX-License-Identifier: Apache-2.0
// Blocks of memory that wait in a file, and come back last one first: what a forward pass keeps for
// its backward.
//
//   Spill spill({.folder = "/mnt/nvme"}, ledger);
//   const auto block = spill.push(bytes);     // a copy; written behind
//   spill.pop(block, out);                    // those pushed before it are read ahead
//
// As many blocks as the options have buffers are in memory: the newest while blocks are pushed, the
// next ones while they are popped. Their bytes are entered under kActivations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "hydrofoil/io/async_io.h"
#include "hydrofoil/memory/buffer_pool.h"
#include "hydrofoil/memory/file_tier.h"
#include "hydrofoil/memory/ledger.h"

namespace hydrofoil::memory {

// One thread at a time.
class Spill {
 public:
  using Block = uint64_t;  // in the order of their pushes

  Spill(FileTierOptions options, Ledger& ledger)
      : tier_(std::move(options), ledger, Category::kActivations),
        pool_(ledger, Category::kActivations) {}
  ~Spill();
  Spill(const Spill&) = delete;
  Spill& operator=(const Spill&) = delete;

  Block push(std::span<const std::byte> bytes);
  // Any order is right; the reverse of the pushes is what is read ahead. Gives the room back.
  void pop(Block block, std::span<std::byte> out);
  // Nobody will ask for it.
  void drop(Block block);

  io::IoCounters counters() const { return tier_.counters(); }
  uint64_t file_bytes() const { return tier_.bytes(); }

 private:
  struct Live {
    FileTier::Piece piece;
    size_t bytes;
  };
  struct Held {
    BufferPool::Bytes buffer;
    io::Transfer transfer;  // to or from it
    bool read;
  };
  FileTier::Piece take_piece(size_t bytes);
  Held& hold(Block block, const Live& live);
  void let_go(std::map<Block, Held>::iterator held);

  FileTier tier_;
  BufferPool pool_;
  Block next_ = 0;
  std::map<Block, Live> live_;
  std::map<Block, Held> held_;                           // of them, in memory
  std::map<size_t, std::vector<FileTier::Piece>> free_;  // by size in bytes
};

}  // namespace hydrofoil::memory
