// SPDX-License-Identifier: Apache-2.0
// The one wire: everything ranks tell each other goes through a Communicator.
//
//   Communicator world = ...;  // comm/world.h, or one rank of a ThreadWorld
//   const Label label{Purpose::kGradients, "layers.3"};
//   world.all_reduce({data, n, DType::kF32}, Reduce::kSum, label);
//   Work work = world.reduce_scatter(in, out, Reduce::kSum, label, Issue::kAsync);
//   work.wait();  // rethrows what went wrong
//
// Group calls are made in the same order by every rank, with the same label; a rank that calls
// something else is named with both calls. Sums run in rank order (0, 1, .. N-1) in fp32 for bf16
// and fp16, so a result depends neither on timing nor on the backend. Failures are
// Error(kPeerFailed) for a dead rank, Error(kTimeout) for one that does not come; the message names
// the rank, what was waited for and what that rank was last seen doing. After a failure every later
// call of every rank fails with it. Wrong arguments are Error(kError).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hydrofoil/core/dtype.h"

namespace hydrofoil::comm {

class Group;        // comm/group.h: order, queue, meter and record around a transport
class FlightRing;   // comm/flight_recorder.h: the last calls of a rank
class Meter;        // comm/meter.h: bytes by operation, purpose and group
struct CallRecord;  // comm/flight_recorder.h: one call as other ranks see it

enum class Reduce : uint8_t { kSum, kMax, kMin };
enum class Operation : uint8_t {
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kAllToAll,
  kBroadcast,
  kSend,
  kRecv,
  kBarrier,
  kRead,    // of a window
  kRetire,  // waiting for the readers of a window
  kSplit,
  kWindow,
  kActivity,  // no call: what a rank does between calls (comm/flight_recorder.h)
};
constexpr size_t kOperations = 13;
enum class Purpose : uint8_t {
  kControl,
  kParameters,
  kGradients,
  kNorm,
  kLoss,
  kActivations,
  kCheckpoint,
  kBenchmark,
};
constexpr size_t kPurposes = 8;
std::string_view name_of(Operation op);
std::string_view name_of(Purpose purpose);

// kInline runs in the caller's thread and returns when done, unless asynchronous calls are still
// queued: then it takes its turn behind them. kAsync returns at once; a worker thread runs it.
enum class Issue : uint8_t { kInline, kAsync };

// What a call is for: metered by purpose, and shown by name when something hangs.
struct Label {
  Purpose purpose = Purpose::kControl;
  std::string_view name = "";
};

struct Buffer {
  void* data = nullptr;
  size_t count = 0;  // elements
  DType type = DType::kU8;
  size_t bytes() const { return count * size_of(type); }
};
struct ConstBuffer {
  const void* data = nullptr;
  size_t count = 0;
  DType type = DType::kU8;
  ConstBuffer() = default;
  ConstBuffer(const void* d, size_t n, DType t) : data(d), count(n), type(t) {}
  ConstBuffer(const Buffer& b) : data(b.data), count(b.count), type(b.type) {}  // NOLINT
  size_t bytes() const { return count * size_of(type); }
};
inline std::byte* bytes_of(const Buffer& b) {
  return static_cast<std::byte*>(b.data);
}
inline const std::byte* bytes_of(const ConstBuffer& b) {
  return static_cast<const std::byte*>(b.data);
}

class Work {  // copyable; the buffers of the call must live until it is done
 public:
  struct State;
  Work() = default;  // done
  explicit Work(std::shared_ptr<State> state) : state_(std::move(state)) {}
  bool done() const;
  void wait() const;

 private:
  std::shared_ptr<State> state_;
};

// Memory of this rank that the peers can read where it lies. Freed (and really returned to the
// system) with the last copy.
using SharedBytes = std::shared_ptr<std::byte[]>;

// One buffer a rank, all of the same size, readable by all, with versions. Starts zeroed.
//
// The owner writes its part, then publish(k). A reader of version k calls read(), which waits until
// the owner has published at least k. After its last read of version k a reader calls retire(k);
// the owner calls await_retired(k) before it overwrites. Between publish and retire nobody waits
// for anybody, whatever order the ranks read in. Versions only grow; retiring k retires all below.
// Thread-safe except for what is done to local().
class Window {
 public:
  struct State;
  Window() = default;
  explicit Window(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::byte* local() const;
  size_t bytes() const;
  // Copies bytes [offset, offset + out.size()) of rank's part at `version`. Metered as kRead.
  void read(int rank, uint64_t version, size_t offset, std::span<std::byte> out, Label label) const;
  void publish(uint64_t version) const;
  void retire(uint64_t version) const;
  void await_retired(uint64_t version, Label label) const;  // by every rank, the own one included

 private:
  std::shared_ptr<State> state_;
};

class Communicator {
 public:
  Communicator() = default;
  explicit Communicator(std::shared_ptr<Group> group) : group_(std::move(group)) {}

  explicit operator bool() const { return group_ != nullptr; }
  int rank() const;
  int size() const;
  const std::string& name() const;     // "world", or as given to split
  const std::string& carrier() const;  // what the data goes over: "thread", "shm", "shm+gloo" ..
  // Where ways are chosen by operation and size: one a line, "all_reduce 2048 gloo" for messages of
  // up to so many bytes; "home" is where the ranks meet. Else empty.
  std::string choices() const;

  // Ranks of equal color form a group, ordered by (key, rank). Collective.
  Communicator split(int color, int key, std::string_view name) const;

  Work all_reduce(Buffer data, Reduce op, Label label,
                  Issue issue = Issue::kInline) const;  // in place
  // in: size() * out.count elements. out may be in's own part. Moves (N-1)/N of the bytes.
  Work reduce_scatter(ConstBuffer in, Buffer out, Reduce op, Label label,
                      Issue issue = Issue::kInline) const;
  // out: size() * in.count elements. in may be out's own part.
  Work all_gather(ConstBuffer in, Buffer out, Label label, Issue issue = Issue::kInline) const;
  // Elements per peer, packed without gaps; never in place.
  Work all_to_all(ConstBuffer in, std::span<const size_t> send_counts, Buffer out,
                  std::span<const size_t> recv_counts, Label label,
                  Issue issue = Issue::kInline) const;
  Work broadcast(Buffer data, int root, Label label, Issue issue = Issue::kInline) const;
  // Matched in order for each (source, destination) pair, and ordered with nothing else: sending to
  // a rank and receiving from it at the same time cannot block each other when one is kAsync.
  Work send(ConstBuffer data, int to, Label label, Issue issue = Issue::kInline) const;
  Work recv(Buffer data, int from, Label label, Issue issue = Issue::kInline) const;
  void barrier(Label label = {}) const;
  // Ends every pending and later call of every rank with Error(kPeerFailed, reason). Thread-safe.
  void abort(std::string_view reason) const;

  SharedBytes alloc(size_t bytes) const;  // 64-byte aligned, zeroed; not collective
  Window window(size_t bytes, std::string_view name) const;  // collective
  // The text of every rank, in rank order. Collective; for small control data.
  std::vector<std::string> all_gather_text(std::string_view text, Label label = {}) const;

  Meter& meter() const;             // of this rank, over all its groups
  FlightRing& flight_ring() const;  // where this rank records its calls
  // The last few hundred calls of a rank of this group, oldest first; also of a dead or stuck one
  // where the backend shares memory.
  std::vector<CallRecord> recent_calls(int rank) const;

 private:
  Group& group() const;
  std::shared_ptr<Group> group_;
};

// Fails on every rank with Error(kConfig) that shows the first difference when `text` is not the
// same on all ranks: "rank 2 differs from rank 0 in the resolved config, line 7: ...". Collective.
void require_same(const Communicator& group, std::string_view what, const std::string& text);

}  // namespace hydrofoil::comm
