// SPDX-License-Identifier: Apache-2.0
// What one rank contributes to a group: a page of state and room to stage data. Lies in memory that
// all members read; starts zeroed.
//
//   Line | heads[n] | tails[n] | counts[2][n] | stages[2] | rings[n][kRingSlots]
//
// Pages that are never used cost address space only.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "hydrofoil/comm/backend/shared/counter.h"
#include "hydrofoil/core/dtype.h"

namespace hydrofoil::comm {

constexpr size_t kStageBytes = 256 << 10;     // a rank and parity: stages stay in L2
constexpr size_t kStreamFromBytes = 8 << 20;  // from here on results bypass the caches
constexpr size_t kRingSlots = 4, kRingSlotBytes = 128 << 10;

// What a peer must see to go on, in one cache line. Signature and token have two places, by the
// parity of the step: a peer may be one step behind.
struct alignas(64) Line {
  Counter phase;  // steps begun
  std::array<uint64_t, 2> signature, token;
  std::atomic<uint32_t> released;  // members that have left the group
  std::atomic<uint32_t> reading;   // this rank may be reading its peers' buffers in place
};

struct alignas(64) RingEnd {  // slots filled (by the source) or emptied (by the destination)
  Counter slots;
};

struct alignas(64) Message {  // head of what a ring slot carries
  uint64_t count;             // of the whole message
  DType type;
};

class GroupPart {
 public:
  GroupPart() = default;
  GroupPart(std::byte* base, int ranks) : base_(base), ranks_(static_cast<size_t>(ranks)) {}

  static size_t bytes(int ranks) {
    const auto n = static_cast<size_t>(ranks);
    return rings_at(n) + n * kRingSlots * kRingSlotBytes;
  }
  Line& line() const { return *reinterpret_cast<Line*>(base_); }
  RingEnd& head(int to) const { return ends()[to]; }
  RingEnd& tail(int from) const { return ends()[ranks_ + static_cast<size_t>(from)]; }
  uint64_t* counts(uint64_t parity) const {
    return reinterpret_cast<uint64_t*>(base_ + counts_at(ranks_)) + parity * ranks_;
  }
  std::byte* stage(uint64_t parity) const {
    return base_ + stages_at(ranks_) + parity * kStageBytes;
  }
  std::byte* ring_slot(int to, uint64_t slot) const {
    const size_t index = static_cast<size_t>(to) * kRingSlots + slot % kRingSlots;
    return base_ + rings_at(ranks_) + index * kRingSlotBytes;
  }

 private:
  static size_t page_up(size_t x) { return (x + 4095) / 4096 * 4096; }
  static size_t counts_at(size_t n) { return sizeof(Line) + 2 * n * sizeof(RingEnd); }
  static size_t stages_at(size_t n) { return page_up(counts_at(n) + 2 * n * sizeof(uint64_t)); }
  static size_t rings_at(size_t n) { return stages_at(n) + 2 * kStageBytes; }
  RingEnd* ends() const { return reinterpret_cast<RingEnd*>(base_ + sizeof(Line)); }

  std::byte* base_ = nullptr;
  size_t ranks_ = 0;
};

}  // namespace hydrofoil::comm
