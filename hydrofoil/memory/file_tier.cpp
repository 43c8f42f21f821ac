// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/file_tier.h"

#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "hydrofoil/core/align.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/memory/segment_layout.h"

namespace hydrofoil::memory {

FileTier::FileTier(FileTierOptions options, Ledger& ledger, Category category)
    : options_(std::move(options)),
      file_(io::File::scratch(options_.folder)),
      io_(options_.io),
      pool_(ledger, category) {
  if (options_.buffers < 3) throw std::logic_error("FileTier: needs at least 3 buffers");
  if (options_.chunk_elements == 0 || options_.chunk_elements % kSliceGranule != 0)
    throw std::logic_error("FileTier: pieces are multiples of a slice's granule");
}

FileTier::~FileTier() {
  forget_last_read();
}

FileTier::Place& FileTier::place(Piece piece) const {
  const std::lock_guard lock(mutex_);
  return places_[piece];
}

FileTier::Piece FileTier::add(const Place& place) {
  places_.push_back(place);
  return places_.size() - 1;
}

FileTier::Piece FileTier::add(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const uint64_t room = round_up(bytes, io::kDirectAlign);
  const uint64_t end = file_bytes_ + (options_.keep_previous ? 2 : 1) * room;
  file_.reserve(end);
  const uint64_t begin = std::exchange(file_bytes_, end);
  return add({.file = &file_,
              .bytes = bytes,
              .stamp = {.offset = begin},
              .previous = {.offset = begin + room}});
}

uint64_t FileTier::bytes() const {
  const std::lock_guard lock(mutex_);
  return file_bytes_;
}

void FileTier::open_peers(const comm::Communicator& group) {
  if (group.size() > 1 && group.carrier() != "thread" && group.carrier() != "shm")
    throw Error(ExitCode::kConfig,
                "ranks read each other's files, but these talk over " + group.carrier(),
                options_.folder.string(),
                "parameters lie in files where all ranks are processes of one host");
  const std::string own =
      "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file_.descriptor());
  for (const auto& path : group.all_gather_text(own, {comm::Purpose::kParameters, "files"}))
    peers_.push_back(io::File::open_direct(path));
  group.barrier({comm::Purpose::kParameters, "files"});  // nobody closes before all have opened
}

FileTier::Piece FileTier::add_of_peer(int rank, size_t bytes) {
  const std::lock_guard lock(mutex_);
  return add({.file = &peers_.at(static_cast<size_t>(rank)), .bytes = bytes, .stamp = {}});
}

size_t FileTier::padded_bytes(Piece piece) const {
  return round_up(place(piece).bytes, io::kDirectAlign);
}

io::Transfer FileTier::begin_read(Piece piece, std::byte* buffer) {
  const Place& from = place(piece);
  const size_t padded = round_up(from.bytes, io::kDirectAlign);
  if (from.stamp.written) return io_.read(*from.file, from.stamp.offset, {buffer, padded});
  std::memset(buffer, 0, padded);
  return {};
}

void FileTier::check(Piece piece, const std::byte* buffer) const {
  check(place(piece), buffer);
}

void FileTier::check(const Place& from, const std::byte* buffer) const {
  if (!from.stamp.written || XXH3_64bits(buffer, from.bytes) == from.stamp.checksum) return;
  throw Error(ExitCode::kError,
              std::to_string(from.bytes) + " bytes at offset " + std::to_string(from.stamp.offset) +
                  " came back other than they were written",
              options_.folder.string(),
              "the disk or its driver fails: resume from the last checkpoint, elsewhere");
}

io::Transfer FileTier::begin_write(Piece piece, const std::byte* buffer) {
  forget_last_read();
  Place& to = place(piece);
  if (options_.keep_previous) std::swap(to.stamp, to.previous);
  to.stamp.checksum = XXH3_64bits(buffer, to.bytes);
  to.stamp.written = 1;
  return io_.write(*to.file, to.stamp.offset, {buffer, round_up(to.bytes, io::kDirectAlign)});
}

void FileTier::take_back(Piece piece) {
  forget_last_read();
  Place& back = place(piece);
  std::swap(back.stamp, back.previous);
}

void FileTier::read(Piece piece, size_t begin, std::span<std::byte> out) {
  const std::lock_guard lock(mutex_);
  const Place& from = places_[piece];
  if (!from.stamp.written) return static_cast<void>(std::ranges::fill(out, std::byte{0}));
  if (last_read_.bytes == 0 || last_read_.piece != piece) {
    drop_last_read();
    const size_t bytes = round_up(from.bytes, io::kDirectAlign);
    last_read_ = {piece, bytes, pool_.take(bytes, 0)};
    try {
      from.file->read_at(from.stamp.offset, {last_read_.buffer.get(), bytes});
      check(from, last_read_.buffer.get());
    } catch (...) {
      drop_last_read();
      throw;
    }
  }
  std::memcpy(out.data(), last_read_.buffer.get() + begin, out.size());
}

void FileTier::forget_last_read() {
  const std::lock_guard lock(mutex_);
  drop_last_read();
}

void FileTier::drop_last_read() {
  if (last_read_.bytes > 0) pool_.give_back(std::move(last_read_.buffer), last_read_.bytes);
  last_read_ = {};
  pool_.trim(0);
}

}  // namespace hydrofoil::memory
