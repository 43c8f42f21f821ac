// SPDX-License-Identifier: Apache-2.0
// A messaging library in one process: what the engine for messages is tested on, also under
// ThreadSanitizer. Copies what is sent; a lost rank breaks what its peers wait for.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "hydrofoil/comm/backend/message/transport.h"

namespace hydrofoil::comm::test {

class Mailboxes : public std::enable_shared_from_this<Mailboxes> {
 public:
  explicit Mailboxes(int size) : size_(size) {}

  std::unique_ptr<Transport> join(int rank) {
    return std::make_unique<End>(shared_from_this(), rank);
  }

 private:
  using Key = std::tuple<int, int, uint32_t>;  // source, destination, channel

  struct Message {
    Key key;
    std::vector<std::byte> bytes;
  };

  class Done final : public Transfer {
   public:
    bool wait() override { return true; }
    void cancel() noexcept override {}
  };

  class Reception final : public Transfer {
   public:
    Reception(std::shared_ptr<Mailboxes> boxes, Key key, std::byte* data, size_t bytes)
        : boxes_(std::move(boxes)), key_(key), data_(data), bytes_(bytes) {}
    ~Reception() override { boxes_->forget(this); }
    bool wait() override { return boxes_->take(*this); }
    void cancel() noexcept override { boxes_->cancel(*this); }

    std::shared_ptr<Mailboxes> boxes_;
    Key key_;
    std::byte* data_;
    size_t bytes_;
    bool cancelled_ = false;
  };

  class End final : public Transport {
   public:
    End(std::shared_ptr<Mailboxes> boxes, int rank)
        : Transport(rank, boxes->size_), boxes_(std::move(boxes)) {}
    std::unique_ptr<Transfer> send(int to, uint32_t channel, const void* data,
                                   size_t bytes) override {
      boxes_->put({rank(), to, channel}, static_cast<const std::byte*>(data), bytes);
      return std::make_unique<Done>();
    }
    std::unique_ptr<Transfer> receive(int from, uint32_t channel, void* data,
                                      size_t bytes) override {
      auto reception = std::make_unique<Reception>(boxes_, Key{from, rank(), channel},
                                                   static_cast<std::byte*>(data), bytes);
      boxes_->expect(reception.get());
      return reception;
    }
    void give_up() override {}

   private:
    std::shared_ptr<Mailboxes> boxes_;
  };

  static bool fits(const Key& asked, const Key& sent) {
    const auto& [from, to, channel] = asked;
    return (from == Transport::kAny || from == std::get<0>(sent)) && to == std::get<1>(sent) &&
           channel == std::get<2>(sent);
  }

  void put(const Key& key, const std::byte* data, size_t bytes) {
    const std::lock_guard lock(mutex_);
    messages_.push_back({key, {data, data + bytes}});
    changed_.notify_all();
  }
  void expect(Reception* reception) {
    const std::lock_guard lock(mutex_);
    expected_.push_back(reception);
  }
  void forget(Reception* reception) {
    const std::lock_guard lock(mutex_);
    std::erase(expected_, reception);
  }
  void cancel(Reception& reception) {
    const std::lock_guard lock(mutex_);
    reception.cancelled_ = true;
    changed_.notify_all();
  }

  // Receptions of one key are served in the order in which they were posted.
  bool take(Reception& reception) {
    std::unique_lock lock(mutex_);
    std::deque<Message>::iterator found;
    changed_.wait(lock, [&] {
      found = messages_.end();
      if (reception.cancelled_) return true;
      size_t before = 0;
      for (const Reception* other : expected_) {
        if (other == &reception) break;
        before += other->key_ == reception.key_;
      }
      found = std::find_if(messages_.begin(), messages_.end(), [&](const Message& m) {
        return fits(reception.key_, m.key) && before-- == 0;
      });
      return found != messages_.end();
    });
    if (found == messages_.end()) return false;
    if (found->bytes.size() != reception.bytes_)
      throw std::runtime_error("a message of another size");
    std::copy(found->bytes.begin(), found->bytes.end(), reception.data_);
    messages_.erase(found);
    std::erase(expected_, &reception);
    changed_.notify_all();
    return true;
  }

  const int size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
  std::vector<Reception*> expected_;
};

}  // namespace hydrofoil::comm::test
