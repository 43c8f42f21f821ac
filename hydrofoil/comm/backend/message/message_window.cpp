// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/backend/message/message_window.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <utility>

namespace hydrofoil::comm {
namespace {

using Clock = MessageWorld::Clock;
constexpr auto kSlice = std::chrono::milliseconds(10);  // between two looks around
constexpr auto kServed = std::chrono::seconds(5);  // a rank that has left still answers what it can

// The part of this rank: bytes, versions and who asks for them. Stays until all have let it go.
class OwnPart final : public ServedPart, public std::enable_shared_from_this<OwnPart> {
 public:
  OwnPart(MessageWorld& world, uint32_t number, SharedBytes memory, size_t members)
      : world_(world),
        number_(number),
        memory_(std::move(memory)),
        members_(members),
        retired_(static_cast<size_t>(world.size())) {}

  std::byte* data() const { return memory_.get(); }

  void handle(const Notice& notice) override {
    std::unique_lock lock(mutex_);
    switch (notice.kind) {
      case Notice::Kind::kRead:
        if (notice.version > published_) return asked_.push_back(notice);
        lock.unlock();
        return answer(notice);
      case Notice::Kind::kRetire:
        raise(retired_[static_cast<size_t>(notice.from)], notice.version);
        return;
      case Notice::Kind::kRelease:
        if (++released_ < members_) return;
        lock.unlock();
        return world_.stop_serving(number_);
      default:
        return;
    }
  }

  void publish(uint64_t version) {
    std::vector<Notice> ready;
    {
      const std::lock_guard lock(mutex_);
      raise(published_, version);
      const auto later = std::partition(asked_.begin(), asked_.end(), [&](const Notice& notice) {
        return notice.version > published_;
      });
      ready.assign(later, asked_.end());
      asked_.erase(later, asked_.end());
    }
    for (const Notice& notice : ready) answer(notice);
  }

  void await_published(Call& call, uint64_t version) {
    await(call, world_.rank(), [&] { return published_ >= version; });
  }
  void await_retired(Call& call, int world_rank, uint64_t version) {
    await(call, world_rank, [&] { return retired_[static_cast<size_t>(world_rank)] >= version; });
  }

 private:
  void raise(uint64_t& value, uint64_t to) {
    value = std::max(value, to);
    changed_.notify_all();
  }

  template <class Condition>
  void await(Call& call, int world_rank, Condition condition) {
    const auto end = Clock::now() + world_.timeout();
    std::unique_lock lock(mutex_);
    for (;;) {
      const bool gone = world_.has_left(world_rank);  // then all that it sent has been handled
      if (changed_.wait_for(lock, kSlice, condition)) return;
      lock.unlock();
      call.record.waits_for = static_cast<int16_t>(world_rank);
      world_.calls().put(call.record);
      world_.look_after(world_rank, call, end, gone);
      lock.lock();
    }
  }

  // At least a byte, so that it is a message. The reader retires the version after it has come: the
  // owner cannot overwrite it before.
  void answer(const Notice& notice) {
    static const std::byte nothing{};
    const std::shared_ptr<const std::byte[]> bytes(
        shared_from_this(), notice.bytes ? memory_.get() + notice.offset : &nothing);
    world_.post(notice.from, notice.reply, bytes, std::max<size_t>(notice.bytes, 1));
  }

  MessageWorld& world_;
  const uint32_t number_;
  const SharedBytes memory_;
  const size_t members_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t published_ = 0;
  std::vector<uint64_t> retired_;  // by world rank
  size_t released_ = 0;
  std::vector<Notice> asked_;  // reads of versions to come
};

class MessageWindow final : public WindowPart {
 public:
  MessageWindow(std::shared_ptr<MessageWorld> world, uint32_t number, std::shared_ptr<OwnPart> own,
                WindowMembers members)
      : world_(std::move(world)),
        number_(number),
        own_(std::move(own)),
        members_(std::move(members)) {}

  ~MessageWindow() override {
    for (size_t r = 0; r < members_.world_ranks.size(); ++r)
      tell(static_cast<int>(r), Notice::Kind::kRelease, 0);
  }

  std::byte* local() override { return own_->data(); }

  void read(Call& call, int rank, uint64_t version, size_t offset,
            std::span<std::byte> out) override {
    if (rank == members_.rank) {
      own_->await_published(call, version);
      if (!out.empty()) std::memcpy(out.data(), own_->data() + offset, out.size());
      return;
    }
    std::byte nothing{};
    const int peer = world_rank(rank);
    Notice request;
    request.kind = Notice::Kind::kRead;
    request.window = number_;
    request.reply = world_->reply_channel();
    request.version = version, request.offset = offset, request.bytes = out.size();
    const auto answer = world_->transport().receive(
        peer, request.reply, out.empty() ? &nothing : out.data(), std::max<size_t>(out.size(), 1));
    world_->notify(peer, request);
    world_->finish(*answer, peer, call, kServed);
  }

  void publish(uint64_t version) override { own_->publish(version); }
  void retire(uint64_t version) override {
    for (const int r : members_.readers) tell(r, Notice::Kind::kRetire, version);
  }
  void await_retired(Call& call, uint64_t version) override {
    for (const int r : members_.readers) own_->await_retired(call, world_rank(r), version);
  }

 private:
  int world_rank(int rank) const { return members_.world_ranks[static_cast<size_t>(rank)]; }
  void tell(int rank, Notice::Kind kind, uint64_t version) {
    Notice notice;
    notice.kind = kind;
    notice.from = world_->rank();
    notice.window = number_;
    notice.version = version;
    rank == members_.rank ? own_->handle(notice) : world_->notify(world_rank(rank), notice);
  }

  std::shared_ptr<MessageWorld> world_;
  const uint32_t number_;
  std::shared_ptr<OwnPart> own_;
  const WindowMembers members_;
};

}  // namespace

std::unique_ptr<WindowPart> make_message_window(std::shared_ptr<MessageWorld> world,
                                                uint32_t number, SharedBytes memory,
                                                WindowMembers members) {
  const auto own =
      std::make_shared<OwnPart>(*world, number, std::move(memory), members.world_ranks.size());
  world->serve(number, own);
  return std::make_unique<MessageWindow>(std::move(world), number, own, std::move(members));
}

}  // namespace hydrofoil::comm
