// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/file_tier.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "hydrofoil/core/align.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::memory {
FileTier::FileTier(FileTierOptions options, Ledger& ledger, Category category)
    : options_(std::move(options)),
      file_(io::File::scratch(options_.folder)),
      io_(options_.io),
      pool_(ledger, category) {
  if (options_.buffers < 3) throw std::logic_error("FileTier: needs at least 3 buffers");
}

FileTier::~FileTier() {
  forget_last_read();
}

FileTier::Piece FileTier::add(std::span<const size_t> part_bytes) {
  Place place{.offset = file_bytes_, .bytes = 0, .parts = {}, .written = false};
  for (const size_t bytes : part_bytes) {
    place.parts.push_back({.begin = place.bytes, .bytes = bytes, .checksum = 0});
    place.bytes += round_up(bytes, io::kDirectAlign);
  }
  file_.reserve(file_bytes_ + place.bytes);
  file_bytes_ += place.bytes;
  places_.push_back(std::move(place));
  return places_.size() - 1;
}

void FileTier::check(const Place& place, const Stored& part,
                     std::span<const std::byte> data) const {
  if (XXH3_64bits(data.data(), data.size()) == part.checksum) return;
  throw Error(ExitCode::kError,
              std::to_string(part.bytes) + " bytes at offset " +
                  std::to_string(place.offset + part.begin) +
                  " came back other than they were written",
              options_.folder.string(),
              "the disk or its driver fails: resume from the last checkpoint, elsewhere");
}

// Pieces on their way, each in a buffer of its own; piece i uses buffer i modulo their number.
class FileTier::Pipeline {
 public:
  Pipeline(FileTier& tier, std::span<const Piece> pieces) : tier_(tier), pieces_(pieces) {
    for (const Piece piece : pieces) bytes_ = std::max(bytes_, tier.places_[piece].bytes);
    slots_.resize(std::min(tier.options_.buffers, pieces.size()));
    for (auto& slot : slots_) slot.buffer = tier.pool_.take(bytes_, 0);
  }
  ~Pipeline() {
    for (auto& slot : slots_) {
      try {
        slot.transfer.wait();  // the memory is being read or written until then
      } catch (...) {          // an error before this one is on its way already
      }
      tier_.pool_.give_back(std::move(slot.buffer), bytes_);
    }
    tier_.pool_.trim(0);
  }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // All but one buffer may hold pieces that are read ahead: the other is being written.
  void read_ahead(size_t index) {
    const size_t end = std::min(pieces_.size(), index + std::max<size_t>(slots_.size(), 2) - 1);
    for (; started_ < end; ++started_) {
      Slot& slot = slots_[started_ % slots_.size()];
      slot.transfer.wait();
      const Place& place = tier_.places_[pieces_[started_]];
      if (place.written)
        slot.transfer = tier_.io_.read(tier_.file_, place.offset, {slot.buffer.get(), place.bytes});
    }
  }

  // The parts of piece `index`, until it is written back.
  std::span<const Part> arrived(size_t index) {
    Slot& slot = slots_[index % slots_.size()];
    slot.transfer.wait();
    const Place& place = tier_.places_[pieces_[index]];
    parts_.clear();
    for (const Stored& part : place.parts) {
      parts_.emplace_back(slot.buffer.get() + part.begin, part.bytes);
      if (place.written) tier_.check(place, part, parts_.back());
    }
    if (!place.written) std::memset(slot.buffer.get(), 0, place.bytes);
    return parts_;
  }

  void write_back(size_t index) {
    Slot& slot = slots_[index % slots_.size()];
    Place& place = tier_.places_[pieces_[index]];
    for (Stored& part : place.parts)
      part.checksum = XXH3_64bits(slot.buffer.get() + part.begin, part.bytes);
    place.written = true;
    slot.transfer = tier_.io_.write(tier_.file_, place.offset, {slot.buffer.get(), place.bytes});
  }

  void finish() {
    for (auto& slot : slots_) slot.transfer.wait();
  }

 private:
  struct Slot {
    BufferPool::Bytes buffer;
    io::Transfer transfer;
  };
  FileTier& tier_;
  const std::span<const Piece> pieces_;
  size_t bytes_ = 0, started_ = 0;
  std::vector<Slot> slots_;
  std::vector<Part> parts_;
};

void FileTier::visit(std::span<const Piece> pieces, Use use, const Visitor& visitor) {
  forget_last_read();
  Pipeline pipeline(*this, pieces);
  for (size_t i = 0; i < pieces.size(); ++i) {
    pipeline.read_ahead(i);
    visitor(i, pipeline.arrived(i));
    if (use == Use::kUpdate) pipeline.write_back(i);
  }
  pipeline.finish();
}

void FileTier::read(Piece piece, size_t part, size_t begin, std::span<std::byte> out) {
  const Place& place = places_[piece];
  if (!place.written) return static_cast<void>(std::ranges::fill(out, std::byte{0}));
  if (last_read_.bytes == 0 || last_read_.piece != piece || last_read_.part != part) {
    forget_last_read();
    const Stored& stored = place.parts[part];
    const size_t bytes = round_up(stored.bytes, io::kDirectAlign);
    last_read_ = {piece, part, bytes, pool_.take(bytes, 0)};
    const std::span data(last_read_.buffer.get(), bytes);
    try {
      file_.read_at(place.offset + stored.begin, data);
      check(place, stored, data.first(stored.bytes));
    } catch (...) {
      forget_last_read();
      throw;
    }
  }
  std::memcpy(out.data(), last_read_.buffer.get() + begin, out.size());
}

void FileTier::forget_last_read() {
  if (last_read_.bytes > 0) pool_.give_back(std::move(last_read_.buffer), last_read_.bytes);
  last_read_ = {};
  pool_.trim(0);
}

}  // namespace hydrofoil::memory
