// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/flight_recorder.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

namespace hydrofoil::comm {

int64_t monotonic_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string describe(const CallRecord& call) {
  if (call.op == Operation::kActivity) return std::string(call.label_name());
  std::string text(name_of(call.op));
  if (!call.label_name().empty()) text.append(" '").append(call.label_name()).append("'");
  return text.append(" (").append(name_of(call.purpose)).append(")");
}

std::string describe_in_full(const CallRecord& call) {
  if (call.op == Operation::kActivity) return describe(call);
  std::string text(name_of(call.op));
  if (!call.label_name().empty()) text.append(" '").append(call.label_name()).append("'");
  if (call.op != Operation::kBarrier && call.op != Operation::kSplit)
    text.append(" of ").append(std::to_string(call.count)).append(" ").append(name_of(call.type));
  text.append(" (").append(name_of(call.purpose));
  if (call.reduce != Reduce::kSum) text.append(call.reduce == Reduce::kMax ? ", max" : ", min");
  text.append(", group ").append(call.group_name());
  if (call.peer >= 0) text.append(", rank ").append(std::to_string(call.peer));
  if (call.group_sequence) text.append(", call ").append(std::to_string(call.group_sequence));
  return text.append(")");
}

// A sequence lock without fences: words are released and acquired one by one, so a reader that saw
// a word of a newer state also sees that the version has moved on.
void FlightRing::put(const CallRecord& call) {
  Slot& slot = slots_[call.sequence % kCalls];
  uint64_t version = slot.version.load(std::memory_order_relaxed) & ~uint64_t{1};
  while (!slot.version.compare_exchange_weak(version, version + 1, std::memory_order_acquire))
    version &= ~uint64_t{1};
  if (slot.words[0].load(std::memory_order_relaxed) <= call.sequence) {
    std::array<uint64_t, kWords> words;
    std::memcpy(words.data(), &call, sizeof call);
    for (size_t i = 0; i < kWords; ++i) slot.words[i].store(words[i], std::memory_order_release);
  }
  slot.version.store(version + 2, std::memory_order_release);
}

std::vector<CallRecord> FlightRing::recent() const {
  // Who writes may have lost its core; who was killed while writing leaves the version odd.
  constexpr int kTries = 100;
  std::vector<CallRecord> calls;
  for (const Slot& slot : slots_) {
    std::array<uint64_t, kWords> words;
    for (int i = 0; i < kTries; ++i) {
      const uint64_t before = slot.version.load(std::memory_order_acquire);
      if (before % 2) {
        sched_yield();
        continue;
      }
      for (size_t w = 0; w < kWords; ++w) words[w] = slot.words[w].load(std::memory_order_acquire);
      if (slot.version.load(std::memory_order_relaxed) != before) continue;
      if (words[0] == 0) break;
      std::memcpy(static_cast<void*>(&calls.emplace_back()), words.data(), sizeof words);
      break;
    }
  }
  std::sort(calls.begin(), calls.end(),
            [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
  return calls;
}

Activity::Activity(FlightRing& ring, std::string_view name) : ring_(ring) {
  record_.op = Operation::kActivity;
  record_.phase = CallPhase::kStarted;
  record_.sequence = ring.next_sequence();
  record_.issued_ns = record_.started_ns = monotonic_ns();
  set_text(record_.name, name);
  ring.put(record_);
}

Activity::~Activity() {
  record_.phase = CallPhase::kDone;
  record_.done_ns = monotonic_ns();
  ring_.put(record_);
}

// A call that waits for a rank says more than what a thread waits for that call in; a call that
// failed ends its rank, whatever activity it was part of.
const CallRecord* last_seen(const std::vector<CallRecord>& recent) {
  const auto last = [&](auto wanted) {
    return std::find_if(recent.rbegin(), recent.rend(), wanted);
  };
  const auto under_way = [](const CallRecord& call) { return call.phase == CallPhase::kStarted; };
  const auto held_up = [&](const CallRecord& call) {
    return under_way(call) && call.waits_for >= 0;
  };
  const auto failed = [](const CallRecord& call) { return call.phase == CallPhase::kFailed; };
  if (const auto call = last(held_up); call != recent.rend()) return &*call;
  if (const auto call = last(failed); call != recent.rend()) return &*call;
  if (const auto call = last(under_way); call != recent.rend()) return &*call;
  return recent.empty() ? nullptr : &recent.back();
}

std::string last_seen_text(const std::vector<CallRecord>& recent) {
  const CallRecord* call = last_seen(recent);
  if (!call) return "it had made no call";
  if (call->phase == CallPhase::kStarted) return "it was last in " + describe(*call);
  if (call->op == Operation::kActivity) return "it had finished " + describe(*call);
  return "its last call was " + describe(*call);
}

}  // namespace hydrofoil::comm
