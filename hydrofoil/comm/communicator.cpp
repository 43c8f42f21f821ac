// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/communicator.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "hydrofoil/comm/flight_recorder.h"
#include "hydrofoil/comm/group.h"
#include "hydrofoil/comm/meter.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {
namespace {

// The message is made only when it is needed: small calls take a fraction of a microsecond.
template <class Message>
void require(bool condition, const CallRecord& call, Message message) {
  if (!condition) throw Error(ExitCode::kError, message(), describe(call));
}

std::string elements(ConstBuffer b) {
  return std::to_string(b.count) + " " + std::string(name_of(b.type));
}

void require_present(ConstBuffer b, const CallRecord& call) {
  require(b.data || b.count == 0, call,
          [&] { return "a buffer of " + elements(b) + " has no memory"; });
}

bool overlap(ConstBuffer a, ConstBuffer b) {
  const auto at = [](ConstBuffer x) { return static_cast<const std::byte*>(x.data); };
  const std::less<const std::byte*> before;
  return a.count && b.count && before(at(a), at(b) + b.bytes()) && before(at(b), at(a) + a.bytes());
}

// `whole` holds one part for each rank; `part` may be the own one.
void require_parts(ConstBuffer whole, ConstBuffer part, Backend& group, const CallRecord& call) {
  const auto size = static_cast<size_t>(group.size());
  require_present(whole, call);
  require_present(part, call);
  require(whole.type == part.type && whole.count == size * part.count, call, [&] {
    return "the whole has " + elements(whole) + ", which is not " + std::to_string(size) +
           " times the part of " + elements(part);
  });
  const void* own =
      static_cast<const std::byte*>(whole.data) + static_cast<size_t>(group.rank()) * part.bytes();
  require(part.data == own || !overlap(whole, part), call, [&] {
    return std::string("the part overlaps the whole without being this rank's own part of it");
  });
}

void require_rank(int rank, Backend& group, const CallRecord& call) {
  require(rank >= 0 && rank < group.size(), call, [&] {
    return "rank " + std::to_string(rank) + " is not in a group of " + std::to_string(group.size());
  });
}

void require_peer(int rank, Backend& group, const CallRecord& call) {
  require_rank(rank, group, call);
  require(rank != group.rank(), call, [&] { return std::string("a rank cannot send to itself"); });
}

void require_split(ConstBuffer data, std::span<const size_t> counts, Backend& group,
                   const CallRecord& call) {
  require_present(data, call);
  const size_t sum = std::accumulate(counts.begin(), counts.end(), size_t{0});
  require(counts.size() == static_cast<size_t>(group.size()) && sum == data.count, call, [&] {
    return std::to_string(counts.size()) + " counts with the sum " + std::to_string(sum) +
           " do not split " + elements(data) + " among " + std::to_string(group.size()) + " ranks";
  });
}

uint64_t others(const Backend& group) {
  return static_cast<uint64_t>(group.size() - 1);
}

}  // namespace

std::string_view name_of(Operation op) {
  switch (op) {
    case Operation::kAllReduce:
      return "all_reduce";
    case Operation::kReduceScatter:
      return "reduce_scatter";
    case Operation::kAllGather:
      return "all_gather";
    case Operation::kAllToAll:
      return "all_to_all";
    case Operation::kBroadcast:
      return "broadcast";
    case Operation::kSend:
      return "send";
    case Operation::kRecv:
      return "recv";
    case Operation::kBarrier:
      return "barrier";
    case Operation::kRead:
      return "read";
    case Operation::kRetire:
      return "await_retired";
    case Operation::kSplit:
      return "split";
    case Operation::kWindow:
      return "window";
    case Operation::kActivity:
      return "activity";
  }
  return "unknown";
}

std::string_view name_of(Purpose purpose) {
  switch (purpose) {
    case Purpose::kControl:
      return "control";
    case Purpose::kParameters:
      return "parameters";
    case Purpose::kGradients:
      return "gradients";
    case Purpose::kNorm:
      return "norm";
    case Purpose::kLoss:
      return "loss";
    case Purpose::kActivations:
      return "activations";
    case Purpose::kCheckpoint:
      return "checkpoint";
    case Purpose::kBenchmark:
      return "benchmark";
  }
  return "unknown";
}

Group& Communicator::group() const {
  if (!group_) throw std::logic_error("a Communicator without a group was used");
  return *group_;
}

int Communicator::rank() const {
  return group().backend().rank();
}
int Communicator::size() const {
  return group().backend().size();
}
const std::string& Communicator::name() const {
  return group().backend().name();
}
const std::string& Communicator::carrier() const {
  return group().carrier();
}

std::string Communicator::choices() const {
  return group().backend().choices();
}
Meter& Communicator::meter() const {
  return *group().meter();
}
void Communicator::abort(std::string_view reason) const {
  group().backend().abort(reason);
}
SharedBytes Communicator::alloc(size_t bytes) const {
  return group().backend().alloc(bytes);
}
FlightRing& Communicator::flight_ring() const {
  return group().backend().calls();
}
std::vector<CallRecord> Communicator::recent_calls(int rank) const {
  return group().backend().recent_calls(rank);
}

Communicator Communicator::split(int color, int key, std::string_view name) const {
  Group& g = group();
  std::unique_ptr<Backend> part;
  g.run(g.collectives(), g.describe(Operation::kSplit, {}, {Purpose::kControl, name}), 0,
        Issue::kInline,
        [&](Call& call) { part = g.backend().do_split(call, color, key, std::string(name)); });
  return Communicator(std::make_shared<Group>(std::move(part), g.meter(), g.carrier()));
}

Work Communicator::all_reduce(Buffer data, Reduce op, Label label, Issue issue) const {
  Group& g = group();
  const Call call = g.describe(Operation::kAllReduce, data, label, -1, op);
  require_present(data, call.record);
  const uint64_t bytes = 2 * others(g.backend()) * data.bytes() / static_cast<uint64_t>(size());
  return g.run(g.collectives(), call, bytes, issue,
               [=, &g](Call& c) { g.backend().do_all_reduce(c, data, op); });
}

Work Communicator::reduce_scatter(ConstBuffer in, Buffer out, Reduce op, Label label,
                                  Issue issue) const {
  Group& g = group();
  const Call call = g.describe(Operation::kReduceScatter, out, label, -1, op);
  require_parts(in, out, g.backend(), call.record);
  return g.run(g.collectives(), call, others(g.backend()) * out.bytes(), issue,
               [=, &g](Call& c) { g.backend().do_reduce_scatter(c, in, out, op); });
}

Work Communicator::all_gather(ConstBuffer in, Buffer out, Label label, Issue issue) const {
  Group& g = group();
  const Call call = g.describe(Operation::kAllGather, in, label);
  require_parts(out, in, g.backend(), call.record);
  return g.run(g.collectives(), call, others(g.backend()) * in.bytes(), issue,
               [=, &g](Call& c) { g.backend().do_all_gather(c, in, out); });
}

Work Communicator::all_to_all(ConstBuffer in, std::span<const size_t> send_counts, Buffer out,
                              std::span<const size_t> recv_counts, Label label, Issue issue) const {
  Group& g = group();
  const Call call = g.describe(Operation::kAllToAll, in, label);
  require_split(in, send_counts, g.backend(), call.record);
  require_split(out, recv_counts, g.backend(), call.record);
  require(in.type == out.type && !overlap(in, out), call.record,
          [&] { return std::string("input and output differ in dtype or overlap"); });
  const uint64_t own = recv_counts[static_cast<size_t>(rank())] * size_of(out.type);
  const std::vector<size_t> send(send_counts.begin(), send_counts.end()),
      recv(recv_counts.begin(), recv_counts.end());
  return g.run(g.collectives(), call, out.bytes() - own, issue,
               [=, &g](Call& c) { g.backend().do_all_to_all(c, {in, send, out, recv}); });
}

Work Communicator::broadcast(Buffer data, int root, Label label, Issue issue) const {
  Group& g = group();
  const Call call = g.describe(Operation::kBroadcast, data, label, root);
  require_present(data, call.record);
  require_rank(root, g.backend(), call.record);
  return g.run(g.collectives(), call, rank() == root ? 0 : data.bytes(), issue,
               [=, &g](Call& c) { g.backend().do_broadcast(c, data, root); });
}

Work Communicator::send(ConstBuffer data, int to, Label label, Issue issue) const {
  Group& g = group();
  const Call call = g.describe(Operation::kSend, data, label, to);
  require_present(data, call.record);
  require_peer(to, g.backend(), call.record);
  return g.run(g.pair(Operation::kSend, to), call, 0, issue,
               [=, &g](Call& c) { g.backend().do_send(c, data, to); });
}

Work Communicator::recv(Buffer data, int from, Label label, Issue issue) const {
  Group& g = group();
  const Call call = g.describe(Operation::kRecv, data, label, from);
  require_present(data, call.record);
  require_peer(from, g.backend(), call.record);
  return g.run(g.pair(Operation::kRecv, from), call, data.bytes(), issue,
               [=, &g](Call& c) { g.backend().do_recv(c, data, from); });
}

void Communicator::barrier(Label label) const {
  Group& g = group();
  g.run(g.collectives(), g.describe(Operation::kBarrier, {}, label), 0, Issue::kInline,
        [&](Call& call) { g.backend().do_barrier(call); });
}

Window Communicator::window(size_t bytes, std::string_view name) const {
  Group& g = group();
  auto state = std::make_shared<Window::State>();
  g.run(g.collectives(),
        g.describe(Operation::kWindow, {nullptr, bytes, DType::kU8}, {Purpose::kControl, name}), 0,
        Issue::kInline, [&](Call& call) { state->part = g.backend().do_window(call, bytes); });
  state->group = group_;
  state->bytes = bytes;
  return Window(std::move(state));
}

std::vector<std::string> Communicator::all_gather_text(std::string_view text, Label label) const {
  const auto ranks = static_cast<size_t>(size());
  auto length = static_cast<int64_t>(text.size());
  std::vector<int64_t> lengths(ranks);
  all_gather({&length, 1, DType::kI64}, {lengths.data(), ranks, DType::kI64}, label);
  const auto longest = static_cast<size_t>(*std::max_element(lengths.begin(), lengths.end()));
  std::string own(text), all(longest * ranks, '\0');
  own.resize(longest);
  all_gather({own.data(), longest, DType::kU8}, {all.data(), all.size(), DType::kU8}, label);
  std::vector<std::string> texts;
  for (size_t r = 0; r < ranks; ++r)
    texts.push_back(all.substr(r * longest, static_cast<size_t>(lengths[r])));
  return texts;
}

std::byte* Window::local() const {
  return state_->part->local();
}
size_t Window::bytes() const {
  return state_->bytes;
}
void Window::publish(uint64_t version) const {
  state_->part->publish(version);
}
void Window::retire(uint64_t version) const {
  state_->part->retire(version);
}

void Window::read(int rank, uint64_t version, size_t offset, std::span<std::byte> out,
                  Label label) const {
  Group& g = *state_->group;
  const Call call = g.describe(Operation::kRead, {out.data(), out.size(), DType::kU8}, label, rank);
  require_rank(rank, g.backend(), call.record);
  require(offset <= state_->bytes && out.size() <= state_->bytes - offset, call.record, [&] {
    return "bytes " + std::to_string(offset) + " + " + std::to_string(out.size()) +
           " are not in a window of " + std::to_string(state_->bytes);
  });
  g.run_unordered(call, rank == g.backend().rank() ? 0 : out.size(),
                  [&](Call& c) { state_->part->read(c, rank, version, offset, out); });
}

void Window::await_retired(uint64_t version, Label label) const {
  Group& g = *state_->group;
  g.run_unordered(g.describe(Operation::kRetire, {}, label), 0,
                  [&](Call& c) { state_->part->await_retired(c, version); });
}

namespace {

// The lines of two different texts at the first difference; "(end)" past the last one.
struct Difference {
  size_t line = 1;
  std::string first, second;
};
Difference first_difference(const std::string& a, const std::string& b) {
  const auto line_at = [](const std::string& s, size_t begin) {
    if (begin > s.size()) return std::string("(end)");
    return s.substr(begin, std::min(s.find('\n', begin), s.size()) - begin);
  };
  Difference d;
  for (size_t at = 0;; ++d.line, at += d.first.size() + 1) {  // equal lines: equal positions
    d.first = line_at(a, at);
    d.second = line_at(b, at);
    if (d.first != d.second || at > a.size()) return d;
  }
}

}  // namespace

void require_same(const Communicator& group, std::string_view what, const std::string& text) {
  const auto texts = group.all_gather_text(text, {Purpose::kControl, what});
  for (size_t r = 1; r < texts.size(); ++r) {
    if (texts[r] == texts[0]) continue;
    const auto difference = first_difference(texts[0], texts[r]);
    throw Error(ExitCode::kConfig,
                "rank " + std::to_string(r) + " differs from rank 0 in " + std::string(what) +
                    ", line " + std::to_string(difference.line) + ": '" + difference.second +
                    "' instead of '" + difference.first + "'",
                {}, "start all ranks with the same files, arguments and environment");
  }
}

}  // namespace hydrofoil::comm
