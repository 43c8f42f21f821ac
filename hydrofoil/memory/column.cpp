// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/column.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

namespace hydrofoil::memory {

// --- Column

Column Column::in_memory(size_t count, DType dtype, Ledger& ledger, Category category) {
  const size_t bytes = count * size_of(dtype);
  auto* data = static_cast<std::byte*>(std::calloc(std::max<size_t>(bytes, 1), 1));
  if (!data) throw std::bad_alloc();
  Column column(Values{data, count, dtype});
  column.owned_ = std::shared_ptr<void>(data, [&ledger, category, bytes](void* memory) {
    std::free(memory);
    ledger.remove(category, bytes);
  });
  ledger.add(category, bytes);
  return column;
}

Column::Column(size_t count, DType dtype, FileTier& tier, const AddPiece& add)
    : count_(count), dtype_(dtype), tier_(&tier) {
  const size_t chunk = tier.options().chunk_elements;
  for (size_t begin = 0; begin < count; begin += chunk)
    pieces_.push_back(add(std::min(chunk, count - begin) * size_of(dtype)));
}

Column Column::in_file(size_t count, DType dtype, FileTier& tier) {
  return {count, dtype, tier, [&](size_t bytes) { return tier.add(bytes); }};
}

Column Column::of_peer(int rank, size_t count, DType dtype, FileTier& tier) {
  return {count, dtype, tier, [&](size_t bytes) { return tier.add_of_peer(rank, bytes); }};
}

void Column::read(size_t begin, std::span<std::byte> out) const {
  const size_t width = size_of(dtype_);
  if (!tier_) return static_cast<void>(std::memcpy(out.data(), here_ + begin * width, out.size()));
  const size_t chunk = tier_->options().chunk_elements;
  while (!out.empty()) {
    const size_t at = begin % chunk;
    const size_t bytes = std::min(out.size(), (chunk - at) * width);
    tier_->read(pieces_[begin / chunk], at * width, out.first(bytes));
    out = out.subspan(bytes);
    begin += bytes / width;
  }
}

void Column::take_back() const {
  for (const auto piece : pieces_) tier_->take_back(piece);
}

void Column::write_stamps(std::span<FileTier::Stamp> out) const {
  for (size_t i = 0; i < pieces_.size(); ++i) out[i] = tier_->stamp(pieces_[i]);
}

void Column::expect(std::span<const FileTier::Stamp> stamps) const {
  for (size_t i = 0; i < pieces_.size(); ++i) tier_->expect(pieces_[i], stamps[i]);
}

// --- ColumnWalk

// Chunks on their way, each in a buffer of its own; chunk i uses buffer i modulo their number.
class ColumnWalk::Pipeline {
 public:
  Pipeline(ColumnWalk& walk, std::span<const Table> tables,
           const std::function<void(size_t)>& settled)
      : walk_(walk), tables_(tables), settled_(settled) {
    for (size_t t = 0; t < tables.size(); ++t) cut(t);
    for (const Table& table : tables)
      for (const Access& access : table)
        if (access.column->tier()) access.column->tier()->forget_last_read();
    for (const Row& row : rows_) bytes_ = std::max(bytes_, row.bytes);
    slots_.resize(std::min(bytes_ > 0 ? walk.buffers_ : 1, std::max<size_t>(rows_.size(), 1)));
    for (auto& slot : slots_)
      if (bytes_ > 0) slot.buffer = walk.pool_.take(bytes_, 0);
  }
  ~Pipeline() {
    for (auto& slot : slots_) {
      try {
        wait(slot);    // the memory is being read or written until then
      } catch (...) {  // an error before this one is on its way already
      }
      if (bytes_ > 0) walk_.pool_.give_back(std::move(slot.buffer), bytes_);
    }
  }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  size_t rows() const { return rows_.size(); }

  // All but one buffer may hold chunks that are read ahead: the other is being written.
  void read_ahead(size_t index) {
    const size_t end = std::min(rows_.size(), index + std::max<size_t>(slots_.size(), 2) - 1);
    for (; started_ < end; ++started_) {
      if (started_ >= slots_.size()) settle(started_ - slots_.size());
      start(started_);
    }
  }

  Chunk arrived(size_t index) {
    wait(slot_of(index));
    const Row& row = rows_[index];
    values_.clear();
    for (const Access& access : tables_[row.table])
      values_.push_back(access.column->tier()
                            ? Values{}  // in the slot, below
                            : access.column->values().part(row.range.begin, row.range.size()));
    in_files(index, [&](size_t column, const Access& access, FileTier::Piece piece, std::byte* at) {
      if (access.use != Use::kOverwrite) access.column->tier()->check(piece, at);
      values_[column] = {at, row.range.size(), access.column->dtype()};
    });
    return {.table = row.table, .range = row.range, .columns = values_};
  }

  void write_back(size_t index) {
    auto& transfers = slot_of(index).transfers;
    in_files(index, [&](size_t, const Access& access, FileTier::Piece piece, std::byte* at) {
      if (access.use != Use::kRead)
        transfers.push_back(access.column->tier()->begin_write(piece, at));
    });
  }

  void finish() {
    while (settled_rows_ < rows_.size()) settle(settled_rows_);
    settle_tables(tables_.size());
  }

 private:
  struct Row {
    size_t table, piece;
    Range range;
    size_t bytes;  // of a buffer
  };
  struct Slot {
    BufferPool::Bytes buffer;
    std::vector<io::Transfer> transfers;
  };

  void cut(size_t table) {
    const size_t count = tables_[table].empty() ? 0 : tables_[table].front().column->count();
    size_t chunk = std::max<size_t>(count, 1);
    bool in_file = false;
    for (const auto& access : tables_[table])
      if (const FileTier* tier = access.column->tier()) {
        if (std::exchange(in_file, true) && chunk != tier->options().chunk_elements)
          throw std::logic_error("ColumnWalk: the files of a table are cut alike");
        chunk = tier->options().chunk_elements;
      }
    for (size_t begin = 0; begin < count; begin += chunk) {
      Row row{.table = table,
              .piece = begin / chunk,
              .range = {begin, std::min(count, begin + chunk)},
              .bytes = 0};
      for (const auto& access : tables_[table])
        if (FileTier* tier = access.column->tier())
          row.bytes += tier->padded_bytes(access.column->piece(row.piece));
      rows_.push_back(row);
    }
  }

  Slot& slot_of(size_t row) { return slots_[row % slots_.size()]; }

  // visit(column, access, piece, memory) of the row's columns that lie in files, one after the
  // other in its slot.
  template <class Visit>
  void in_files(size_t index, const Visit& visit) {
    const Row& row = rows_[index];
    std::byte* at = slot_of(index).buffer.get();
    for (size_t c = 0; c < tables_[row.table].size(); ++c) {
      const Access& access = tables_[row.table][c];
      if (!access.column->tier()) continue;
      const auto piece = access.column->piece(row.piece);
      visit(c, access, piece, at);
      at += access.column->tier()->padded_bytes(piece);
    }
  }

  void start(size_t index) {
    auto& transfers = slot_of(index).transfers;
    in_files(index, [&](size_t, const Access& access, FileTier::Piece piece, std::byte* at) {
      if (access.use != Use::kOverwrite)
        transfers.push_back(access.column->tier()->begin_read(piece, at));
    });
  }

  static void wait(Slot& slot) {
    for (const auto& transfer : slot.transfers) transfer.wait();
    slot.transfers.clear();
  }

  // Rows settle in order; with the last of its rows a table has.
  void settle(size_t row) {
    wait(slot_of(row));
    settled_rows_ = row + 1;
    settle_tables(settled_rows_ < rows_.size() ? rows_[settled_rows_].table : tables_.size());
  }
  void settle_tables(size_t end) {
    for (; settled_tables_ < end; ++settled_tables_)
      if (settled_) settled_(settled_tables_);
  }

  ColumnWalk& walk_;
  const std::span<const Table> tables_;
  const std::function<void(size_t)>& settled_;
  std::vector<Row> rows_;
  size_t bytes_ = 0, started_ = 0, settled_rows_ = 0, settled_tables_ = 0;
  std::vector<Slot> slots_;
  std::vector<Values> values_;
};

void ColumnWalk::visit(std::span<const Table> tables, const Visitor& visitor,
                       const std::function<void(size_t table)>& settled) {
  Pipeline pipeline(*this, tables, settled);
  for (size_t i = 0; i < pipeline.rows(); ++i) {
    pipeline.read_ahead(i);
    visitor(pipeline.arrived(i));
    pipeline.write_back(i);
  }
  pipeline.finish();
}

void ColumnWalk::copy(const Column& from, const Column& to) {
  const Table table{{&from, Use::kRead}, {&to, Use::kOverwrite}};
  visit({&table, 1}, [](const Chunk& chunk) {
    const auto bytes = chunk.columns[0].bytes();
    std::memcpy(chunk.columns[1].data, bytes.data(), bytes.size());
  });
}

}  // namespace hydrofoil::memory
