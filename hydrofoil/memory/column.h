// SPDX-License-Identifier: Apache-2.0
// Numbers that lie in memory or in a file, and are the same to whoever walks through them.
//
//   const auto weights = Column::in_file(n, DType::kF32, tier);
//   const auto gradient = Column::in_memory(n, DType::kF32, ledger, Category::kGradients);
//   walk.visit({{{&weights, Use::kUpdate}, {&gradient, Use::kRead}}}, [&](const Chunk& chunk) {
//     descend(chunk.columns[0].floats(), chunk.columns[1].floats());   // of chunk.range
//   });
//
// A table is a list of columns of equal length. While one of its chunks is being visited the next
// are being read and the last ones written back, within a fixed number of buffers: that, not the
// numbers, is what memory holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "hydrofoil/core/dtype.h"
#include "hydrofoil/memory/file_tier.h"
#include "hydrofoil/memory/segment_layout.h"
#include "hydrofoil/memory/values.h"

namespace hydrofoil::memory {

// Copies are the same column.
class Column {
 public:
  Column() = default;
  // A view of memory that somebody else keeps.
  explicit Column(const Values& values)
      : count_(values.count), dtype_(values.dtype), here_(values.data) {}
  // Zeros, page by page taken when they are touched, and entered in the ledger.
  static Column in_memory(size_t count, DType dtype, Ledger& ledger, Category category);
  // Zeros in pieces of a file.
  static Column in_file(size_t count, DType dtype, FileTier& tier);
  // The same of a peer, readable with what its stamps() say.
  static Column of_peer(int rank, size_t count, DType dtype, FileTier& tier);

  size_t count() const { return count_; }
  DType dtype() const { return dtype_; }
  FileTier* tier() const { return tier_; }  // null: it lies in memory
  // The numbers where they lie, if that is memory; else nothing.
  Values values() const { return tier_ ? Values{} : Values{here_, count_, dtype_}; }
  // Elements [begin, begin + out.size() / width).
  void read(size_t begin, std::span<std::byte> out) const;

  // By piece; of a column in a file.
  size_t pieces() const { return pieces_.size(); }
  FileTier::Piece piece(size_t index) const { return pieces_[index]; }
  // See FileTier::take_back: of all pieces, each of which has been written since.
  void take_back() const;
  void write_stamps(std::span<FileTier::Stamp> out) const;
  void expect(std::span<const FileTier::Stamp> stamps) const;

 private:
  using AddPiece = std::function<FileTier::Piece(size_t bytes)>;
  Column(size_t count, DType dtype, FileTier& tier, const AddPiece& add);

  size_t count_ = 0;
  DType dtype_ = DType::kF32;
  std::byte* here_ = nullptr;
  std::shared_ptr<void> owned_;
  FileTier* tier_ = nullptr;
  std::vector<FileTier::Piece> pieces_;
};

// One thread at a time.
class ColumnWalk {
 public:
  enum class Use : uint8_t {
    kRead,
    kUpdate,
    kOverwrite,  // what it held is not read: all of it is written
  };
  struct Access {
    const Column* column;
    Use use;
  };
  using Table = std::vector<Access>;
  struct Chunk {
    size_t table;
    Range range;
    std::span<const Values> columns;  // elements of `range`, in the table's order
  };
  using Visitor = std::function<void(const Chunk&)>;

  // Buffers are entered under the category.
  ColumnWalk(size_t buffers, Ledger& ledger, Category category)
      : buffers_(buffers), pool_(ledger, category) {}

  // The chunks of each table, in order. settled(table) is called, in order too, when all that was
  // written of it is where it rests; of the last ones before this returns.
  void visit(std::span<const Table> tables, const Visitor& visitor,
             const std::function<void(size_t table)>& settled = {});
  // Copies all of a column into another of the same numbers: from memory to a file, or back.
  void copy(const Column& from, const Column& to);
  // Buffers stay for the next visit until then.
  void let_go() { pool_.trim(0); }

 private:
  class Pipeline;
  const size_t buffers_;
  BufferPool pool_;
};

}  // namespace hydrofoil::memory
