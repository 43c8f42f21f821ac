// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/group.h"

#include <algorithm>

namespace hydrofoil::comm {
namespace {

bool is_collective(Operation op) {
  switch (op) {
    case Operation::kSend:
    case Operation::kRecv:
    case Operation::kRead:
    case Operation::kRetire:
    case Operation::kActivity:
      return false;
    case Operation::kAllReduce:
    case Operation::kReduceScatter:
    case Operation::kAllGather:
    case Operation::kAllToAll:
    case Operation::kBroadcast:
    case Operation::kBarrier:
    case Operation::kSplit:
    case Operation::kWindow:
      return true;
  }
  return false;
}

class Fnv1a {
 public:
  void add(std::string_view text) {
    for (const char c : text) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  void add(uint64_t number) { hash_ = (hash_ ^ number ^ number >> 32) * 0x100000001b3; }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace

Group::Group(std::unique_ptr<Backend> backend, std::shared_ptr<Meter> meter, std::string carrier)
    : backend_(std::move(backend)),
      meter_(std::move(meter)),
      carrier_(std::move(carrier)),
      cells_(meter_->group(backend_->name())) {}

// Calls of a rank that is unwinding may never be answered: its peers are told before it waits for
// what it has queued.
Group::~Group() {
  if (std::uncaught_exceptions() == 0) return;
  bool idle = collectives_.idle();
  for (const auto& [key, lane] : pairs_) idle &= lane.idle();
  if (!idle) backend_->abort("stopped by an error while calls were under way");
}

Lane& Group::pair(Operation op, int peer) {
  const std::lock_guard lock(pairs_mutex_);
  return pairs_[{op, peer}];
}

Call Group::describe(Operation op, ConstBuffer data, Label label, int peer, Reduce reduce) {
  Call call;
  CallRecord& record = call.record;
  record.op = op;
  record.purpose = label.purpose;
  record.count = data.count;
  record.type = data.type;
  record.peer = static_cast<int16_t>(peer);
  record.reduce = reduce;
  set_text(record.group, backend_->name());
  set_text(record.name, label.name);
  Fnv1a hash;
  hash.add(label.name);
  hash.add(static_cast<uint64_t>(reduce) << 24 | static_cast<uint64_t>(op) << 16 |
           static_cast<uint64_t>(label.purpose) << 8 | static_cast<uint64_t>(data.type));
  hash.add(op == Operation::kAllToAll ? 0 : data.count);
  hash.add(static_cast<uint64_t>(peer));
  call.signature = hash.value();
  return call;
}

void Group::register_call(Call& call, uint64_t bytes) {
  call.record.sequence = calls().next_sequence();
  if (is_collective(call.record.op))
    call.record.group_sequence = sequence_.fetch_add(1, std::memory_order_relaxed) + 1;
  call.record.issued_ns = monotonic_ns();
  cells_.count(call.record.op, call.record.purpose, bytes);
}

void Group::mark(Call& call, CallPhase phase) {
  CallRecord& record = call.record;
  record.phase = phase;
  // What runs at once has been issued when it started: one reading of the clock less.
  if (phase == CallPhase::kStarted)
    record.started_ns = call.async ? monotonic_ns() : record.issued_ns;
  else
    record.done_ns = monotonic_ns();
  calls().put(record);
  Timings& timings = meter_->timings();
  if (phase == CallPhase::kDone && timings.watches(record.op))
    timings.add(record.op, message_bytes(record), backend_->size(),
                record.done_ns - record.started_ns);
}

// The whole of what is gathered or scattered; the record has a rank's part.
uint64_t Group::message_bytes(const CallRecord& record) const {
  const bool part = record.op == Operation::kAllGather || record.op == Operation::kReduceScatter;
  return record.count * size_of(record.type) * (part ? static_cast<uint64_t>(backend_->size()) : 1);
}

}  // namespace hydrofoil::comm
