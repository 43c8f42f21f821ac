// SPDX-License-Identifier: Apache-2.0
// The last few hundred calls of a rank, always on, so that a hang is explained and not just timed
// out.
//
// The ring of a rank lies where its peers can read it, also when the rank is stuck or dead. Cost:
// two or three copies of 128 bytes and two readings of the clock a call.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/comm/communicator.h"

namespace hydrofoil::comm {

enum class CallPhase : uint8_t { kIssued, kStarted, kDone, kFailed };

// One call. Plain data of 16 words; times are CLOCK_MONOTONIC, 0 where not reached.
struct CallRecord {
  uint64_t sequence = 0;        // of its rank, over all groups, from 1
  uint64_t group_sequence = 0;  // collectives: position in the order of the group, from 1
  uint64_t count = 0;           // elements of `type`
  int64_t issued_ns = 0, started_ns = 0, done_ns = 0;
  Operation op = Operation::kBarrier;
  Purpose purpose = Purpose::kControl;
  DType type = DType::kU8;
  CallPhase phase = CallPhase::kIssued;
  int16_t peer = -1;       // root, destination, source or window part; a rank of the group
  int16_t waits_for = -1;  // world rank that the call was seen to wait for
  std::array<char, 24> group{};
  Reduce reduce = Reduce::kSum;  // of reductions
  std::array<char, 47> name{};

  std::string_view group_name() const { return group.data(); }
  std::string_view label_name() const { return name.data(); }
};
static_assert(sizeof(CallRecord) == 128);

template <size_t N>
void set_text(std::array<char, N>& to, std::string_view text) {
  to = {};
  text.copy(to.data(), N - 1);
}

std::string describe(const CallRecord& call);          // "reduce_scatter 'layers.3' (gradients)"
std::string describe_in_full(const CallRecord& call);  // with count, dtype, group and position

// Lies in zeroed shared memory. Written by the threads of one rank, read by anybody.
class FlightRing {
 public:
  static constexpr size_t kCalls = 256;

  uint64_t issued() const { return issued_.load(std::memory_order_relaxed); }
  uint64_t next_sequence() { return issued_.fetch_add(1, std::memory_order_relaxed) + 1; }
  // Stores the state of a call; a newer call that has taken its place keeps it.
  void put(const CallRecord& call);
  std::vector<CallRecord> recent() const;  // oldest first

 private:
  static constexpr size_t kWords = sizeof(CallRecord) / sizeof(uint64_t);
  struct Slot {
    std::atomic<uint64_t> version;  // odd while written
    std::array<std::atomic<uint64_t>, kWords> words;
  };
  std::atomic<uint64_t> issued_;
  std::array<Slot, kCalls> slots_;
};

// What a rank does between its calls, in its record: peers that wait for it say "it was last in
// forward of layers.3", and a timeline is drawn from the same records. Cost: two records.
//
//   const Activity activity(group.flight_ring(), "checkpoint");
class Activity {
 public:
  Activity(FlightRing& ring, std::string_view name);
  ~Activity();
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;

 private:
  FlightRing& ring_;
  CallRecord record_;
};

// What a rank was doing: its newest call that waits for a rank, else the one that failed, else its
// newest unfinished one, else its newest one; nullptr when it made none.
const CallRecord* last_seen(const std::vector<CallRecord>& recent);
// "it was last in reduce_scatter 'layers.3' (gradients)".
std::string last_seen_text(const std::vector<CallRecord>& recent);

int64_t monotonic_ns();

}  // namespace hydrofoil::comm
