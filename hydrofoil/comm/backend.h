// SPDX-License-Identifier: Apache-2.0
// What a transport implements: blocking calls on one group of ranks.
//
// Arguments are already validated, calls arrive one at a time in program order (but for send and
// recv, which may run beside everything else, one at a time for each peer and direction). Metering,
// recording and asynchrony are done above, in Group. A failure is thrown as Error and must end
// every pending and later call of every rank.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/comm/flight_recorder.h"

namespace hydrofoil::comm {

// A call under way. Equal signatures mean that two ranks do the same collective.
struct Call {
  CallRecord record;
  uint64_t signature = 0;
  bool async = false;
};

struct AllToAll {
  ConstBuffer in;
  std::span<const size_t> send_counts;
  Buffer out;
  std::span<const size_t> recv_counts;
};

// One rank's end of a Window. Every function may be called from several threads.
class WindowPart {
 public:
  virtual ~WindowPart() = default;
  virtual std::byte* local() = 0;
  virtual void read(Call& call, int rank, uint64_t version, size_t offset,
                    std::span<std::byte> out) = 0;
  virtual void publish(uint64_t version) = 0;
  virtual void retire(uint64_t version) = 0;
  virtual void await_retired(Call& call, uint64_t version) = 0;
};

class Backend {
 public:
  Backend(std::string name, int rank, int size)
      : name_(std::move(name)), rank_(rank), size_(size) {}
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  const std::string& name() const { return name_; }
  int rank() const { return rank_; }
  int size() const { return size_; }

  virtual void do_all_reduce(Call& call, Buffer data, Reduce op) = 0;
  virtual void do_reduce_scatter(Call& call, ConstBuffer in, Buffer out, Reduce op) = 0;
  virtual void do_all_gather(Call& call, ConstBuffer in, Buffer out) = 0;
  virtual void do_all_to_all(Call& call, const AllToAll& data) = 0;
  virtual void do_broadcast(Call& call, Buffer data, int root) = 0;
  virtual void do_send(Call& call, ConstBuffer data, int to) = 0;
  virtual void do_recv(Call& call, Buffer data, int from) = 0;
  virtual void do_barrier(Call& call) = 0;
  virtual std::unique_ptr<Backend> do_split(Call& call, int color, int key, std::string name) = 0;
  virtual std::unique_ptr<WindowPart> do_window(Call& call, size_t bytes) = 0;

  virtual SharedBytes alloc(size_t bytes) = 0;
  virtual void check() = 0;  // throws the failure that has ended the job, if one has
  virtual void abort(std::string_view reason) = 0;

  virtual FlightRing& calls() = 0;  // where this rank records
  virtual std::vector<CallRecord> recent_calls(int rank) const = 0;
  virtual std::string choices() const { return {}; }  // as Communicator's

 private:
  std::string name_;
  int rank_, size_;
};

}  // namespace hydrofoil::comm
