// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/message/message_world.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace hydrofoil::comm {
namespace {

using std::chrono::milliseconds;

constexpr auto kWatch = milliseconds(10);          // between two looks at what is pending
constexpr auto kNoticeGrace = milliseconds(1000);  // for the last notices of a job that has failed
constexpr auto kPatience = milliseconds(1000);     // for an answer of a peer
constexpr auto kFarewell = milliseconds(3000);     // for the others of a failed job to end too

constexpr uint32_t kServiceChannel = 0;
constexpr uint32_t kReplies = Transport::kChannels / 2;  // channels from here on are for answers

struct Answer {
  uint64_t count = 0;
  std::array<CallRecord, FlightRing::kCalls> calls;
};

}  // namespace

MessageWorld::MessageWorld(std::unique_ptr<Transport> transport, MessageOptions options)
    : transport_(std::move(transport)), options_(std::move(options)) {
  const auto ranks = static_cast<size_t>(size());
  left_at_.resize(ranks);
  heard_.resize(ranks);
  for (size_t r = 0; r < ranks; ++r) outboxes_.emplace_back();
  watch_ = std::thread([this] { watch(); });
  service_ = std::thread([this] { listen(); });
}

MessageWorld::~MessageWorld() {
  const bool all_left = leave();
  {
    const std::lock_guard lock(mutex_);
    stop_service_ = true;
  }
  changed_.notify_all();
  service_.join();
  outboxes_.clear();  // nobody fills them any more; sends what is queued
  {
    const std::lock_guard lock(mutex_);
    stop_watch_ = true;
  }
  changed_.notify_all();
  watch_.join();
  if (!all_left) transport_->give_up();
}

bool MessageWorld::leave() {
  Notice notice;
  notice.kind = Notice::Kind::kLeft;
  for (int r = 0; r < size(); ++r)
    if (r != rank()) notify(r, notice);
  std::unique_lock lock(mutex_);
  left_at_[static_cast<size_t>(rank())] = Clock::now();
  const auto all_left = [this] {
    return std::none_of(left_at_.begin(), left_at_.end(),
                        [](const auto& at) { return at == Clock::time_point{}; });
  };
  changed_.wait_for(lock, timeout(), [&] { return failure_.present() || all_left(); });
  return changed_.wait_for(lock, kFarewell, all_left);
}

void MessageWorld::set_labels(std::vector<std::string> labels) {
  const std::lock_guard lock(mutex_);
  labels_ = std::move(labels);
}

std::string MessageWorld::label(int rank) const {
  const std::lock_guard lock(mutex_);
  const auto r = static_cast<size_t>(rank);
  return r < labels_.size() ? labels_[r] : "rank " + std::to_string(rank);
}

bool MessageWorld::has_left(int peer) const {
  const std::lock_guard lock(mutex_);
  return left_at_[static_cast<size_t>(peer)] != Clock::time_point{};
}

// --- waiting

bool MessageWorld::await(const Pending& pending) {
  Pending entry = pending;
  {
    const std::lock_guard lock(mutex_);
    pending_.push_back(&entry);
  }
  struct Removal {
    ~Removal() {
      const std::lock_guard lock(world.mutex_);
      std::erase(world.pending_, &entry);
    }
    MessageWorld& world;
    Pending& entry;
  } const removal{*this, entry};
  return pending.transfer->wait();
}

bool MessageWorld::hopeless(const Pending& pending, Clock::time_point now) const {
  if (now > pending.end) return true;
  const bool failed = failed_at_ != Clock::time_point{};
  if (pending.outlives_failure) return failed && now > failed_at_ + kNoticeGrace;
  const auto left = left_at_[static_cast<size_t>(pending.peer)];
  return failed || (left != Clock::time_point{} && now > pending.gone_until);
}

void MessageWorld::watch() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kWatch, [this] { return stop_watch_; })) {
    const auto now = Clock::now();
    for (Pending* pending : pending_)
      if (hopeless(*pending, now)) pending->transfer->cancel();
    if (stop_service_ && listening_ != nullptr) listening_->cancel();
  }
}

void MessageWorld::finish(Transfer& transfer, int peer, Call& call, milliseconds grace) {
  call.record.waits_for = static_cast<int16_t>(peer);
  calls().put(call.record);
  try {
    const auto now = Clock::now();
    if (await({&transfer, peer, now + timeout(), false, now + grace})) return;
  } catch (const Error&) {
    throw;
  } catch (const std::runtime_error& error) {
    lose(peer, call, error.what());
  }
  check();
  if (has_left(peer)) miss(peer, call);
  time_out(peer, call);
}

void MessageWorld::look_after(int peer, const Call& call, Clock::time_point end, bool gone) {
  check();
  if (gone) miss(peer, call);
  if (Clock::now() > end) time_out(peer, call);
}

// --- what went wrong

bool MessageWorld::note_failure(const Error& error) {
  if (!failure_.record(error.code(), error.what(), error.where())) return false;
  {
    const std::lock_guard lock(mutex_);
    failed_at_ = Clock::now();
  }
  changed_.notify_all();
  const std::lock_guard lock(link_mutex_);
  if (linked_.on_failure) linked_.on_failure(error);
  return true;
}

void MessageWorld::link(LinkedWorld linked) {
  const std::lock_guard lock(link_mutex_);
  if (!linked.calls)  // peers may still ask what this rank did
    for (const CallRecord& call : calls().recent()) own_calls_.put(call);
  calls_.store(linked.calls ? linked.calls : &own_calls_);
  linked_ = std::move(linked);
  if (!linked_.on_failure || !failure_.present()) return;
  try {
    failure_.raise();
  } catch (const Error& error) {
    linked_.on_failure(error);
  }
}

void MessageWorld::record_failure(const Error& error) {
  if (!note_failure(error)) return;
  Notice notice;
  notice.kind = Notice::Kind::kFailure;
  notice.code = static_cast<int32_t>(error.code());
  set_text(notice.message, error.what());
  set_text(notice.where, error.where());
  for (int r = 0; r < size(); ++r)
    if (r != rank()) notify(r, notice);
}

void MessageWorld::fail(ExitCode code, const std::string& message, const std::string& where) {
  record_failure(Error(code, message, where));
  failure_.raise();
}

// A rank that fails tells its peers before it goes: what it said counts.
void MessageWorld::await_news(int peer) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kSettle, [&] {
    return failure_.present() || left_at_[static_cast<size_t>(peer)] != Clock::time_point{};
  });
}

void MessageWorld::lose(int peer, const Call& call, const std::string& why) {
  await_news(peer);
  check();
  if (has_left(peer)) miss(peer, call);
  fail(ExitCode::kPeerFailed, label(peer) + " died or cannot be reached while " + label(rank()) +
                                  " waited for it in " + describe(call.record) + " (" + why +
                                  "); " + last_heard_text(peer));
}

void MessageWorld::miss(int peer, const Call& call) {
  fail(ExitCode::kPeerFailed, label(peer) + " ended while " + label(rank()) + " waited for it in " +
                                  describe(call.record) + "; " +
                                  last_seen_text(recent_calls(peer)));
}

void MessageWorld::time_out(int peer, const Call& call) {
  const std::string waited = label(rank()) + " waited " + seconds_text(timeout()) + " for ";
  std::string text = account_of(peer);
  text.insert(label(peer).size(), " in " + describe(call.record));
  fail(ExitCode::kTimeout, waited + text);
}

// Follows the chain of who waits for whom to the rank that holds up all.
std::string MessageWorld::account_of(int peer) {
  std::string text = label(peer);
  for (int hops = 0; hops < size(); ++hops) {
    const auto recent = ask(peer);
    if (!recent) return text + "; it does not answer, and " + last_heard_text(peer);
    text += "; " + last_seen_text(*recent);
    const CallRecord* last = last_seen(*recent);
    if (last && last->phase == CallPhase::kFailed) await_news(peer);  // it may know more
    if (!last || last->phase != CallPhase::kStarted || last->waits_for < 0) break;
    peer = last->waits_for;
    text += " and waited for " + label(peer);
    if (peer == rank()) break;
  }
  return text;
}

void MessageWorld::heard(int peer, const CallRecord& record) {
  const std::lock_guard lock(mutex_);
  CallRecord& last = heard_[static_cast<size_t>(peer)];
  if (record.sequence > last.sequence) last = record;
}

std::string MessageWorld::last_heard_text(int peer) const {
  const std::lock_guard lock(mutex_);
  const CallRecord& last = heard_[static_cast<size_t>(peer)];
  if (last.sequence == 0) return "no call was heard of it";
  return "the last call heard of it was " + describe(last);
}

// --- questions

std::vector<CallRecord> MessageWorld::recent_calls(int peer) {
  if (auto recent = ask(peer)) return *recent;
  const std::lock_guard lock(mutex_);
  const CallRecord& last = heard_[static_cast<size_t>(peer)];
  return last.sequence ? std::vector{last} : std::vector<CallRecord>{};
}

std::optional<std::vector<CallRecord>> MessageWorld::ask(int peer) {
  if (peer == rank()) return calls().recent();
  const auto answer = std::make_unique<Answer>();
  Notice question;
  question.kind = Notice::Kind::kAsk;
  question.reply = reply_channel();
  try {
    const auto transfer = transport_->receive(peer, question.reply, answer.get(), sizeof(Answer));
    notify(peer, question);
    if (!await({transfer.get(), peer, Clock::now() + kPatience, true})) return std::nullopt;
  } catch (const std::runtime_error&) {
    return std::nullopt;
  }
  const auto begin = answer->calls.begin();
  return std::vector(begin, begin + static_cast<std::ptrdiff_t>(answer->count));
}

void MessageWorld::answer(const Notice& question) {
  const auto recent = [this] {
    const std::lock_guard lock(link_mutex_);
    return calls().recent();
  }();
  Answer answer;
  answer.count = recent.size();
  std::copy(recent.begin(), recent.end(), answer.calls.begin());
  std::shared_ptr<std::byte[]> bytes(new std::byte[sizeof answer]);
  std::memcpy(bytes.get(), &answer, sizeof answer);
  post(question.from, question.reply, std::move(bytes), sizeof answer);
}

uint32_t MessageWorld::reply_channel() {
  return kReplies + next_reply_.fetch_add(1) % kReplies;
}

// --- notices

void MessageWorld::notify(int to, const Notice& notice) {
  std::shared_ptr<std::byte[]> bytes(new std::byte[sizeof notice]);
  Notice own = notice;
  own.from = rank();
  std::memcpy(bytes.get(), &own, sizeof own);
  post(to, kServiceChannel, std::move(bytes), sizeof own);
}

void MessageWorld::post(int to, uint32_t channel, std::shared_ptr<const std::byte[]> data,
                        size_t bytes) {
  outboxes_[static_cast<size_t>(to)].enqueue([this, to, channel, data = std::move(data), bytes] {
    try {
      const auto transfer = transport_->send(to, channel, data.get(), bytes);
      await({transfer.get(), to, Clock::time_point::max(), true});
    } catch (const std::runtime_error&) {  // whoever waits for this peer says so
    }
  });
}

void MessageWorld::listen() {
  struct Listening {
    Listening(MessageWorld& owner, Transfer* transfer) : world(owner) { set(transfer); }
    ~Listening() { set(nullptr); }
    void set(Transfer* transfer) {
      const std::lock_guard lock(world.mutex_);
      world.listening_ = transfer;
    }
    MessageWorld& world;
  };
  Notice notice;
  try {
    for (;;) {
      const auto transfer =
          transport_->receive(Transport::kAny, kServiceChannel, &notice, sizeof notice);
      const Listening listening(*this, transfer.get());
      if (!transfer->wait()) return;
      handle(notice);
    }
  } catch (const std::runtime_error& error) {
    std::unique_lock lock(mutex_);
    // A call that waits for the lost peer names it; without one this is all there is to say.
    if (changed_.wait_for(lock, kNoticeGrace,
                          [this] { return failure_.present() || stop_service_; }))
      return;
    lock.unlock();
    record_failure(Error(ExitCode::kPeerFailed, label(rank()) + " lost a peer: " + error.what()));
  }
}

void MessageWorld::handle(const Notice& notice) {
  switch (notice.kind) {
    case Notice::Kind::kFailure:
      note_failure(
          Error(static_cast<ExitCode>(notice.code), notice.message.data(), notice.where.data()));
      return;
    case Notice::Kind::kLeft: {
      const std::lock_guard lock(mutex_);
      left_at_[static_cast<size_t>(notice.from)] = Clock::now();
      changed_.notify_all();
      return;
    }
    case Notice::Kind::kAsk:
      return answer(notice);
    case Notice::Kind::kRead:
    case Notice::Kind::kRetire:
    case Notice::Kind::kRelease: {
      std::shared_ptr<ServedPart> part;
      {
        const std::lock_guard lock(mutex_);
        const auto found = parts_.find(notice.window);
        if (found != parts_.end()) part = found->second;
      }
      if (part) part->handle(notice);
      return;
    }
  }
}

void MessageWorld::serve(uint32_t window, std::shared_ptr<ServedPart> part) {
  const std::lock_guard lock(mutex_);
  parts_[window] = std::move(part);
}

void MessageWorld::stop_serving(uint32_t window) {
  std::shared_ptr<ServedPart> part;  // dies unlocked
  const std::lock_guard lock(mutex_);
  const auto found = parts_.find(window);
  if (found == parts_.end()) return;
  part = std::move(found->second);
  parts_.erase(found);
}

}  // namespace hydrofoil::comm
