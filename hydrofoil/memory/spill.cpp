// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/spill.h"

#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace hydrofoil::memory {

Spill::~Spill() {
  for (auto& [block, held] : held_) {
    try {
      held.transfer.wait();  // the memory is being read or written until then
    } catch (...) {          // nobody is left to hear of it
    }
    pool_.give_back(std::move(held.buffer), tier_.padded_bytes(live_.at(block).piece));
  }
}

FileTier::Piece Spill::take_piece(size_t bytes) {
  auto& pieces = free_[bytes];
  if (pieces.empty()) return tier_.add(bytes);
  const auto piece = pieces.back();
  pieces.pop_back();
  return piece;
}

// A buffer for it; where there is none left, that of the block that is needed last, the oldest.
Spill::Held& Spill::hold(Block block, const Live& live) {
  while (held_.size() >= tier_.options().buffers) let_go(held_.begin());
  const size_t bytes = tier_.padded_bytes(live.piece);
  return held_[block] = {.buffer = pool_.take(bytes, 0), .transfer = {}, .read = false};
}

void Spill::let_go(std::map<Block, Held>::iterator held) {
  held->second.transfer.wait();
  pool_.give_back(std::move(held->second.buffer), tier_.padded_bytes(live_.at(held->first).piece));
  held_.erase(held);
}

Spill::Block Spill::push(std::span<const std::byte> bytes) {
  const Live live{take_piece(bytes.size()), bytes.size()};
  const Block block = next_++;
  live_.emplace(block, live);
  Held& held = hold(block, live);
  std::memcpy(held.buffer.get(), bytes.data(), bytes.size());
  held.transfer = tier_.begin_write(live.piece, held.buffer.get());
  return block;
}

void Spill::pop(Block block, std::span<std::byte> out) {
  const auto read = [&](Block wanted, const Live& live) {
    Held& held = hold(wanted, live);
    held.read = true;
    held.transfer = tier_.begin_read(live.piece, held.buffer.get());
  };
  const auto found = live_.find(block);
  if (found == live_.end() || found->second.bytes != out.size())
    throw std::logic_error("Spill: no such block of " + std::to_string(out.size()) + " bytes");
  if (!held_.contains(block)) read(block, found->second);
  const Held& held = held_.at(block);
  held.transfer.wait();
  if (held.read) tier_.check(found->second.piece, held.buffer.get());
  std::memcpy(out.data(), held.buffer.get(), out.size());
  drop(block);
  for (auto before = live_.lower_bound(block);
       before != live_.begin() && held_.size() < tier_.options().buffers;)
    if (--before; !held_.contains(before->first)) read(before->first, before->second);
}

void Spill::drop(Block block) {
  const auto found = live_.find(block);
  if (found == live_.end()) return;
  if (const auto held = held_.find(block); held != held_.end()) let_go(held);
  free_[found->second.bytes].push_back(found->second.piece);
  live_.erase(found);
  if (live_.empty()) pool_.trim(0);
}

}  // namespace hydrofoil::memory
