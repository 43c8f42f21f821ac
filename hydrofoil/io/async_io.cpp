// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/async_io.h"

#include <algorithm>
#include <stdexcept>
#include <thread>
#include <utility>

#include "hydrofoil/io/block_queue.h"

namespace hydrofoil::io {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxBlockBytes = size_t{1} << 30;

void Transfer::wait() const {
  if (!state_) return;
  std::unique_lock lock(state_->mutex);
  state_->done.wait(lock, [&] { return state_->blocks == 0; });
  if (state_->error) std::rethrow_exception(state_->error);
}

void Block::finish(size_t done) const {
  if (done == size) return;
  const std::span rest(data + done, size - done);
  if (write) {
    file->write_at(offset + done, rest);
  } else {
    file->read_at(offset + done, rest);
  }
}

void BlockQueue::push(std::vector<Block> blocks) {
  {
    std::lock_guard lock(mutex_);
    if (unfinished_ == 0) busy_since_ = Clock::now();
    unfinished_ += blocks.size();
    for (auto& block : blocks) pending_.push_back(std::move(block));
  }
  changed_.notify_all();
}

std::vector<Block> BlockQueue::pop(size_t most, bool wait) {
  std::unique_lock lock(mutex_);
  if (wait) changed_.wait(lock, [&] { return closed_ || !pending_.empty(); });
  const auto end = pending_.begin() + static_cast<ptrdiff_t>(std::min(most, pending_.size()));
  std::vector<Block> taken(std::make_move_iterator(pending_.begin()), std::make_move_iterator(end));
  pending_.erase(pending_.begin(), end);
  return taken;
}

void BlockQueue::complete(const Block& block, size_t done) {
  std::exception_ptr error;
  try {
    block.finish(done);
  } catch (...) {
    error = std::current_exception();
  }
  {
    std::lock_guard lock(mutex_);
    (block.write ? counters_.written_bytes : counters_.read_bytes) += error ? 0 : block.size;
    if (--unfinished_ == 0)
      counters_.busy_seconds += std::chrono::duration<double>(Clock::now() - busy_since_).count();
  }
  Transfer::State& transfer = *block.transfer;
  std::lock_guard lock(transfer.mutex);
  if (error && !transfer.error) transfer.error = error;
  if (--transfer.blocks == 0) transfer.done.notify_all();
}

void BlockQueue::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

IoCounters BlockQueue::counters() const {
  std::lock_guard lock(mutex_);
  IoCounters now = counters_;
  if (unfinished_ > 0)
    now.busy_seconds += std::chrono::duration<double>(Clock::now() - busy_since_).count();
  return now;
}

class AsyncIo::Workers {
 public:
  Workers(BlockQueue& queue, const AsyncIoOptions& options) : queue_(queue) {
    const auto depth = static_cast<unsigned>(options.queue_depth);
    for (int i = 0; i < options.threads && options.uring; ++i)
      if (auto ring = std::make_unique<Uring>(depth); *ring) rings_.push_back(std::move(ring));
    for (auto& ring : rings_) threads_.emplace_back([this, &one = *ring] { one.serve(queue_); });
    const auto blocking = rings_.empty() ? depth * static_cast<unsigned>(options.threads) : 0;
    for (unsigned i = 0; i < blocking; ++i) threads_.emplace_back([this] { serve_blocking(); });
  }
  ~Workers() {
    queue_.close();
    for (auto& thread : threads_) thread.join();
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  bool uring() const { return !rings_.empty(); }

 private:
  void serve_blocking() {
    for (auto blocks = queue_.pop(1, true); !blocks.empty(); blocks = queue_.pop(1, true))
      queue_.complete(blocks.front(), 0);
  }

  BlockQueue& queue_;
  std::vector<std::unique_ptr<Uring>> rings_;
  std::vector<std::thread> threads_;
};

AsyncIo::AsyncIo(const AsyncIoOptions& options)
    : block_bytes_(options.block_bytes), queue_(std::make_unique<BlockQueue>()) {
  if (block_bytes_ % kDirectAlign != 0 || block_bytes_ == 0 || block_bytes_ > kMaxBlockBytes)
    throw std::logic_error("AsyncIo: a block is a multiple of 4096 bytes, at most 1 GiB");
  if (options.queue_depth < 1 || options.threads < 1)
    throw std::logic_error("AsyncIo: at least one thread, and a queue at least 1 deep");
  workers_ = std::make_unique<Workers>(*queue_, options);
}

AsyncIo::~AsyncIo() = default;

namespace {

Transfer start(BlockQueue& queue, Block whole, size_t block_bytes) {
  auto state = std::make_shared<Transfer::State>();
  whole.transfer = state;
  std::vector<Block> blocks;
  for (size_t at = 0; at < whole.size; at += block_bytes) {
    blocks.push_back(whole);
    blocks.back().offset += at;
    blocks.back().data += at;
    blocks.back().size = std::min(block_bytes, whole.size - at);
  }
  state->blocks = blocks.size();
  if (!blocks.empty()) queue.push(std::move(blocks));
  return Transfer(std::move(state));
}

}  // namespace

Transfer AsyncIo::read(const File& file, uint64_t offset, std::span<std::byte> out) {
  return start(*queue_, {.file = &file, .offset = offset, .data = out.data(), .size = out.size()},
               block_bytes_);
}

Transfer AsyncIo::write(const File& file, uint64_t offset, std::span<const std::byte> data) {
  return start(*queue_,
               {.file = &file,
                .offset = offset,
                .data = const_cast<std::byte*>(data.data()),
                .size = data.size(),
                .write = true},
               block_bytes_);
}

std::string_view AsyncIo::backend() const {
  return workers_->uring() ? "io_uring" : "threads";
}

IoCounters AsyncIo::counters() const {
  return queue_->counters();
}

}  // namespace hydrofoil::io
