// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/timeline.h"

#include <algorithm>
#include <string>
#include <utility>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::train {
namespace {

using comm::CallRecord;
using comm::Operation;

monitor::Track track_of(const CallRecord& call) {
  using monitor::Track;
  if (call.op == Operation::kActivity) return Track::kCompute;
  if (call.purpose == comm::Purpose::kParameters) return Track::kGathers;
  return call.purpose == comm::Purpose::kGradients ? Track::kReductions : Track::kOther;
}

monitor::TraceEvent event_of(const CallRecord& call) {
  monitor::TraceEvent event{.name = comm::describe(call),
                            .category = std::string(comm::name_of(call.op)),
                            .track = track_of(call),
                            .begin_ns = call.started_ns,
                            .end_ns = call.done_ns,
                            .bytes = call.count * size_of(call.type)};
  if (call.op == Operation::kActivity) {
    event.category = event.name.substr(0, event.name.find(' '));  // "forward of .."
    event.bytes = 0;
  }
  return event;
}

}  // namespace

void Timeline::begin() {
  on_ = true;
  lost_ = 0;
  collected_.clear();
  first_ = polled_ = group_.flight_ring().issued() + 1;
}

void Timeline::poll() {
  constexpr uint64_t kOften = comm::FlightRing::kCalls / 4;
  if (on_ && group_.flight_ring().issued() - polled_ >= kOften) collect();
}

void Timeline::collect() {
  polled_ = group_.flight_ring().issued();
  for (auto& call : group_.flight_ring().recent())
    if (call.sequence >= first_ &&
        (collected_.size() < kMost || collected_.contains(call.sequence)))
      collected_.insert_or_assign(call.sequence, call);
}

std::vector<monitor::TraceEvent> Timeline::end() {
  collect();
  on_ = false;
  lost_ = polled_ + 1 - first_ - std::min<uint64_t>(polled_ + 1 - first_, collected_.size());
  std::vector<monitor::TraceEvent> events;
  for (const auto& [sequence, call] : std::exchange(collected_, {}))
    if (call.done_ns > 0) events.push_back(event_of(call));
  return events;
}

}  // namespace hydrofoil::train
