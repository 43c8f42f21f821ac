// SPDX-License-Identifier: Apache-2.0
// An order of execution: calls run one at a time, in the order in which they were issued.
//
// A call runs in its caller's thread when nothing is before it; what is issued asynchronously runs
// in a worker thread, started when first needed.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "hydrofoil/comm/communicator.h"
#include "hydrofoil/core/error.h"

namespace hydrofoil::comm {

struct Work::State {
  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  bool done = false;
  // An Error travels as text and is made anew by every wait(): threads share no exception object.
  struct Failure {
    ExitCode code;
    std::string message, where, hint;
  };
  std::optional<Failure> failure;
  std::exception_ptr other;
};

class Lane {
 public:
  Lane() = default;
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;
  ~Lane();  // runs what is queued, then stops the worker

  Work enqueue(std::function<void()> call);
  // Runs call() here if it is its turn, else behind what is queued; returns when it is done.
  template <class Call>
  void run(Call&& call) {
    if (!take_turn()) return enqueue([&call] { call(); }).wait();
    const Turn turn(*this);
    call();
  }
  bool idle() const;

 private:
  struct Job {
    std::function<void()> call;
    std::shared_ptr<Work::State> state;
  };
  struct Turn {
    explicit Turn(Lane& owner) : lane(owner) {}
    ~Turn() { lane.end_turn(); }
    Lane& lane;
  };
  bool take_turn();
  void end_turn();
  void work();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> queue_;
  bool busy_ = false;  // a call is running
  bool stop_ = false;
  std::thread worker_;
};

}  // namespace hydrofoil::comm
