// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/layer_stream.h"

#include <algorithm>
#include <exception>
#include <stdexcept>

#include "hydrofoil/inference/packed_model.h"

namespace hydrofoil::inference {

LayerStream::LayerStream(const std::filesystem::path& folder, const Residency& residency)
    : residency_(residency), file_(io::File::scratch(folder)) {
  file_.reserve(residency.pass_bytes);
}

void LayerStream::put(size_t layer, LayerWeights& weights) {
  const uint64_t offset = pieces_.empty() ? 0 : pieces_.back().offset + pieces_.back().bytes;
  size_t place = 0;
  std::vector<io::Transfer> writes;
  for (Matrix* matrix : weights.matrices()) {
    matrix->place = place;
    // Memory is whole pages, zeros to their end.
    const std::span<const std::byte> pages(matrix->packed.data(), matrix->stream_bytes());
    writes.push_back(io_.write(file_, offset + place, pages));
    place += pages.size();
  }
  for (const auto& write : writes) write.wait();
  for (Matrix* matrix : weights.matrices()) matrix->packed = {};
  pieces_.push_back({.layer = layer, .offset = offset, .bytes = place});
}

void LayerStream::start() {
  if (pieces_.size() != residency_.streamed)
    throw std::logic_error("LayerStream: not all streamed layers are there");
  const std::scoped_lock lock(mutex_);
  for (size_t i = 0; i < residency_.buffers; ++i)
    begin_next(slots_.emplace_back(Slot{.memory = Aligned<std::byte>(residency_.buffer_bytes)}));
}

uint64_t LayerStream::offset_of(size_t layer) const {
  return std::ranges::find(pieces_, layer, &Piece::layer)->offset;
}

void LayerStream::begin_next(Slot& slot) {
  const Piece& piece = pieces_[next_];
  slot.layer = piece.layer;
  slot.transfer = io_.read(file_, piece.offset, slot.memory.span().first(piece.bytes));
  next_ = (next_ + 1) % pieces_.size();
}

// A thread may ask before the one that releases has begun the read. There are more streamed layers
// than slots: one that holds the layer holds it for this step.
const std::byte* LayerStream::acquire(size_t layer) {
  io::Transfer transfer;
  const std::byte* memory = nullptr;
  {
    std::unique_lock lock(mutex_);
    auto slot = slots_.end();
    begun_.wait(lock, [&] {
      slot = std::ranges::find(slots_, layer, &Slot::layer);
      return slot != slots_.end() || failure_;
    });
    if (slot == slots_.end()) std::rethrow_exception(failure_);
    transfer = slot->transfer;
    memory = slot->memory.data();
  }
  try {
    transfer.wait();
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    failure_ = std::current_exception();
    begun_.notify_all();
    throw;
  }
  return memory;
}

void LayerStream::release(size_t layer) {
  const std::scoped_lock lock(mutex_);
  begin_next(*std::ranges::find(slots_, layer, &Slot::layer));
  begun_.notify_all();
}

}  // namespace hydrofoil::inference
