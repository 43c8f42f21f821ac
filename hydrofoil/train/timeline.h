// SPDX-License-Identifier: Apache-2.0
// What a rank did during some time: its calls and activities, collected from its flight record.
//
// The record is kept anyway (comm/flight_recorder.h), so a timeline costs nothing until it is
// begun. It holds the last 256 entries only: poll() while something happens.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/monitor/trace_file.h"

namespace hydrofoil::train {

class Timeline {
 public:
  explicit Timeline(comm::Communicator group) : group_(std::move(group)) {}

  void begin();
  void poll();  // cheap while nothing is recorded, or little has happened
  // What began after begin() and has ended since, by begin. At most kMost entries; `lost` counts
  // what went beyond them or was overwritten between two polls.
  std::vector<monitor::TraceEvent> end();
  uint64_t lost() const { return lost_; }

 private:
  static constexpr size_t kMost = 1 << 16;
  void collect();

  const comm::Communicator group_;
  bool on_ = false;
  uint64_t first_ = 0, polled_ = 0, lost_ = 0;      // sequence numbers; count
  std::map<uint64_t, comm::CallRecord> collected_;  // by sequence
};

}  // namespace hydrofoil::train
