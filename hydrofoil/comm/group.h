// SPDX-License-Identifier: Apache-2.0
// One rank's end of a group: program order, the asynchronous worker, meter and record around a
// transport. Communicator is its value-like handle.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "hydrofoil/comm/backend.h"
#include "hydrofoil/comm/lane.h"
#include "hydrofoil/comm/meter.h"

namespace hydrofoil::comm {

class Group {
 public:
  // carrier: what the data goes over, as people see it: "shm".
  Group(std::unique_ptr<Backend> backend, std::shared_ptr<Meter> meter, std::string carrier);
  ~Group();

  Backend& backend() { return *backend_; }
  const std::shared_ptr<Meter>& meter() const { return meter_; }
  const std::string& carrier() const { return carrier_; }
  Lane& collectives() { return collectives_; }
  // The order of what this rank sends to, or receives from, one peer.
  Lane& pair(Operation op, int peer);

  // `data`: what the call moves, its count and type. `peer`: root, destination or source.
  Call describe(Operation op, ConstBuffer data, Label label, int peer = -1,
                Reduce reduce = Reduce::kSum);
  // Numbers, meters and records the call, then runs body(call) in its turn.
  template <class Body>
  Work run(Lane& lane, Call call, uint64_t bytes, Issue issue, Body body) {
    register_call(call, bytes);
    if (issue == Issue::kInline) {
      lane.run([&] { execute(call, body); });
      return {};
    }
    call.async = true;
    calls().put(call.record);
    return lane.enqueue([this, call, body]() mutable { execute(call, body); });
  }
  // The same for what has no order: reads of windows.
  template <class Body>
  void run_unordered(Call call, uint64_t bytes, Body body) {
    register_call(call, bytes);
    execute(call, body);
  }

 private:
  FlightRing& calls() { return backend_->calls(); }
  void register_call(Call& call, uint64_t bytes);
  template <class Body>
  void execute(Call& call, Body& body) {
    mark(call, CallPhase::kStarted);
    try {
      backend_->check();
      body(call);
    } catch (...) {
      mark(call, CallPhase::kFailed);
      throw;
    }
    mark(call, CallPhase::kDone);
  }
  void mark(Call& call, CallPhase phase);
  uint64_t message_bytes(const CallRecord& record) const;

  std::unique_ptr<Backend> backend_;
  std::shared_ptr<Meter> meter_;
  std::string carrier_;
  Meter::GroupCells& cells_;
  std::atomic<uint64_t> sequence_{0};
  std::mutex pairs_mutex_;
  std::map<std::pair<Operation, int>, Lane> pairs_;
  Lane collectives_;
};

struct Window::State {
  std::shared_ptr<Group> group;
  std::unique_ptr<WindowPart> part;
  size_t bytes = 0;
};

}  // namespace hydrofoil::comm
