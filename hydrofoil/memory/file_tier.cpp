// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/file_tier.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::memory {

FileTier::FileTier(FileTierOptions options, Ledger& ledger, Category category)
    : options_(std::move(options)),
      file_(io::File::scratch(options_.folder)),
      io_(options_.io),
      pool_(ledger, category) {
  if (options_.buffers < 3) throw std::logic_error("FileTier: needs at least 3 buffers");
}

FileTier::Piece FileTier::add(size_t bytes) {
  bytes = (bytes + io::kDirectAlign - 1) / io::kDirectAlign * io::kDirectAlign;
  file_.reserve(file_bytes_ + bytes);
  places_.push_back({.offset = file_bytes_, .bytes = bytes});
  file_bytes_ += bytes;
  return places_.size() - 1;
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

  std::span<std::byte> arrived(size_t index) {
    Slot& slot = slots_[index % slots_.size()];
    slot.transfer.wait();
    const Place& place = tier_.places_[pieces_[index]];
    const std::span data(slot.buffer.get(), place.bytes);
    if (!place.written) {
      std::memset(data.data(), 0, data.size());
    } else if (XXH3_64bits(data.data(), data.size()) != place.checksum) {
      throw Error(ExitCode::kError,
                  std::to_string(place.bytes) + " bytes at offset " + std::to_string(place.offset) +
                      " came back other than they were written",
                  tier_.options_.folder.string(),
                  "the disk or its driver fails: resume from the last checkpoint, elsewhere");
    }
    return data;
  }

  void write_back(size_t index) {
    Slot& slot = slots_[index % slots_.size()];
    Place& place = tier_.places_[pieces_[index]];
    const std::span data(slot.buffer.get(), place.bytes);
    place.checksum = XXH3_64bits(data.data(), data.size());
    place.written = true;
    slot.transfer = tier_.io_.write(tier_.file_, place.offset, data);
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
};

void FileTier::visit(std::span<const Piece> pieces, Use use, const Visitor& visitor) {
  Pipeline pipeline(*this, pieces);
  for (size_t i = 0; i < pieces.size(); ++i) {
    pipeline.read_ahead(i);
    visitor(i, pipeline.arrived(i));
    if (use == Use::kUpdate) pipeline.write_back(i);
  }
  pipeline.finish();
}

}  // namespace hydrofoil::memory
