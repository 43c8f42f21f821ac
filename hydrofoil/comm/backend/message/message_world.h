// SPDX-License-Identifier: Apache-2.0
// One rank's end of a job whose ranks tell each other everything by messages: the failure that ends
// them all, who has left, what each was last heard doing, and the service that answers peers.
//
// Three kinds of threads beside the caller's: the service receives notices (reads of windows,
// failures, questions), an outbox for each peer sends them, so that a stuck peer holds up nobody
// else, and the watch cancels transfers that wait too long or for nothing.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "hydrofoil/comm/backend/message/transport.h"
#include "hydrofoil/comm/backend/shared/fabric.h"
#include "hydrofoil/comm/lane.h"

namespace hydrofoil::comm {

// What a rank tells a peer outside of any call.
struct Notice {
  enum class Kind : uint32_t { kFailure, kLeft, kAsk, kRead, kRetire, kRelease };
  Kind kind = Kind::kLeft;
  int32_t from = 0;
  uint32_t window = 0;
  uint32_t reply = 0;  // channel of the answer
  uint64_t version = 0, offset = 0, bytes = 0;
  int32_t code = 0;
  std::array<char, 60> where{};
  std::array<char, 900> message{};
};

// A window's part of this rank, as the service sees it.
class ServedPart {
 public:
  virtual ~ServedPart() = default;
  virtual void handle(const Notice& notice) = 0;
};

struct MessageOptions {
  std::chrono::milliseconds timeout{std::chrono::minutes(10)};
};

// A smaller world to which a rank belongs too: the ranks of its host.
struct LinkedWorld {
  FlightRing* calls = nullptr;                   // where this rank records its calls
  std::function<void(const Error&)> on_failure;  // wakes who waits there; by any thread
};

class MessageWorld {
 public:
  MessageWorld(std::unique_ptr<Transport> transport, MessageOptions options);
  MessageWorld(const MessageWorld&) = delete;
  MessageWorld& operator=(const MessageWorld&) = delete;
  // Serves peers until all have left, or the job has failed.
  ~MessageWorld();

  int rank() const { return transport_->rank(); }
  int size() const { return transport_->size(); }
  Transport& transport() { return *transport_; }
  FlightRing& calls() { return *calls_.load(); }
  std::chrono::milliseconds timeout() const { return options_.timeout; }
  // Until it is unlinked (with an empty one), which waits for those who use it.
  void link(LinkedWorld linked);
  void set_labels(std::vector<std::string> labels);
  std::string label(int rank) const;
  // A rank, what it is doing and, where it waits too, the same of whom it waits for; asks them.
  std::string account_of(int rank);

  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kSettle{300};
  // Throws what makes it vain to wait for the peer any longer: a failure, that it was gone when
  // what it had sent was looked at, the time.
  void look_after(int peer, const Call& call, Clock::time_point end, bool gone);
  bool has_left(int peer) const;
  // Waits; throws what prevents the transfer, naming the peer. grace: for what a peer that has left
  // may have on its way.
  void finish(Transfer& transfer, int peer, Call& call, std::chrono::milliseconds grace = kSettle);
  void heard(int peer, const CallRecord& record);  // what it is doing
  std::vector<CallRecord> recent_calls(int rank);  // asks the peer, for at most a second

  void check() const {
    if (failure_.present()) failure_.raise();
  }
  // Ends the job with this failure unless there is one already.
  void record_failure(const Error& error);
  [[noreturn]] void fail(ExitCode code, const std::string& message, const std::string& where = {});

  // Numbers of groups and windows: the largest that any member has used, plus one.
  uint32_t next_number() const { return next_number_.load(); }
  void use_numbers_from(uint32_t number) { next_number_.store(number); }
  uint32_t reply_channel();
  void notify(int to, const Notice& notice);
  void post(int to, uint32_t channel, std::shared_ptr<const std::byte[]> data, size_t bytes);
  void serve(uint32_t window, std::shared_ptr<ServedPart> part);
  void stop_serving(uint32_t window);

 private:
  struct Pending {
    Transfer* transfer;
    int peer;
    Clock::time_point end;
    bool outlives_failure;
    Clock::time_point gone_until = {};  // until then the peer may have left
  };

  bool await(const Pending& pending);
  bool hopeless(const Pending& pending, Clock::time_point now) const;
  void await_news(int peer);
  [[noreturn]] void lose(int peer, const Call& call, const std::string& why);
  [[noreturn]] void miss(int peer, const Call& call);  // it has left
  // The peer did not come in time; follows the chain of who waits for whom.
  [[noreturn]] void time_out(int peer, const Call& call);
  std::optional<std::vector<CallRecord>> ask(int peer);
  std::string last_heard_text(int peer) const;
  bool note_failure(const Error& error);  // whether it is the first
  bool leave();                           // whether all have
  void listen();
  void watch();
  void handle(const Notice& notice);
  void answer(const Notice& question);

  std::unique_ptr<Transport> transport_;
  MessageOptions options_;
  FailureSlot failure_{};
  FlightRing own_calls_{};
  std::atomic<FlightRing*> calls_{&own_calls_};
  std::mutex link_mutex_;
  LinkedWorld linked_;
  std::atomic<uint32_t> next_number_{2}, next_reply_{0};

  mutable std::mutex mutex_;  // of everything below
  std::condition_variable changed_;
  std::vector<std::string> labels_;  // by rank
  std::vector<Pending*> pending_;
  std::vector<Clock::time_point> left_at_;  // by rank; zero: has not left
  Clock::time_point failed_at_{};
  std::vector<CallRecord> heard_;  // by rank
  std::map<uint32_t, std::shared_ptr<ServedPart>> parts_;
  Transfer* listening_ = nullptr;  // of the service
  bool stop_service_ = false, stop_watch_ = false;

  std::deque<Lane> outboxes_;  // by rank
  std::thread service_, watch_;
};

}  // namespace hydrofoil::comm
