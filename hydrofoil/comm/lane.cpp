// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/comm/lane.h"

namespace hydrofoil::comm {

bool Work::done() const {
  if (!state_) return true;
  const std::lock_guard lock(state_->mutex);
  return state_->done;
}

void Work::wait() const {
  if (!state_) return;
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->done; });
  if (const auto& f = state_->failure) throw Error(f->code, f->message, f->where, f->hint);
  if (state_->other) std::rethrow_exception(state_->other);
}

Lane::~Lane() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (worker_.joinable()) worker_.join();
}

Work Lane::enqueue(std::function<void()> call) {
  auto state = std::make_shared<Work::State>();
  {
    const std::lock_guard lock(mutex_);
    if (!worker_.joinable()) worker_ = std::thread([this] { work(); });
    queue_.push_back({std::move(call), state});
  }
  changed_.notify_one();
  return Work(std::move(state));
}

bool Lane::idle() const {
  const std::lock_guard lock(mutex_);
  return !busy_ && queue_.empty();
}

bool Lane::take_turn() {
  const std::lock_guard lock(mutex_);
  if (busy_ || !queue_.empty()) return false;
  return busy_ = true;
}

void Lane::end_turn() {
  bool waiting;
  {
    const std::lock_guard lock(mutex_);
    busy_ = false;
    waiting = !queue_.empty();
  }
  if (waiting) changed_.notify_one();
}

void Lane::work() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !busy_ && (stop_ || !queue_.empty()); });
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
    }
    Work::State& state = *job.state;  // nobody reads the outcome before `done`
    try {
      job.call();
    } catch (const Error& e) {
      state.failure = {e.code(), e.what(), e.where(), e.hint()};
    } catch (...) {
      state.other = std::current_exception();
    }
    end_turn();
    {
      const std::lock_guard lock(state.mutex);
      state.done = true;
    }
    state.changed.notify_all();
  }
}

}  // namespace hydrofoil::comm
