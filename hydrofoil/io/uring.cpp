// SPDX-License-Identifier: Apache-2.0
// Serves a queue of blocks by the kernel's io_uring: one thread keeps `depth` of them under way.
#include <liburing.h>

#include <map>

#include "hydrofoil/io/block_queue.h"

namespace hydrofoil::io {
class Uring::Ring {
 public:
  ~Ring() {
    if (open_) io_uring_queue_exit(&ring_);
  }
  bool open(unsigned depth) { return open_ = io_uring_queue_init(depth, &ring_, 0) == 0; }

  void start(const Block& block, uint64_t id) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);  // never null: at most `depth` are under way
    const auto size = static_cast<unsigned>(block.size);
    if (block.write) {
      io_uring_prep_write(entry, block.file->descriptor(), block.data, size, block.offset);
    } else {
      io_uring_prep_read(entry, block.file->descriptor(), block.data, size, block.offset);
    }
    entry->user_data = id;
  }
  void submit_and_wait() { io_uring_submit_and_wait(&ring_, 1); }
  // The next completion: its id, and the bytes moved or a negative errno. False when none is there.
  bool next(uint64_t& id, int& result) {
    io_uring_cqe* entry = nullptr;
    if (io_uring_peek_cqe(&ring_, &entry) != 0) return false;
    id = entry->user_data;
    result = entry->res;
    io_uring_cqe_seen(&ring_, entry);
    return true;
  }

 private:
  io_uring ring_{};
  bool open_ = false;
};

Uring::Uring(unsigned depth) : ring_(std::make_unique<Ring>()), depth_(depth) {
  if (!ring_->open(depth)) ring_.reset();
}

Uring::~Uring() = default;

void Uring::serve(BlockQueue& queue) {
  std::map<uint64_t, Block> under_way;
  for (uint64_t id = 0;;) {
    auto blocks = queue.pop(depth_ - under_way.size(), under_way.empty());
    if (blocks.empty() && under_way.empty()) return;
    for (auto& block : blocks) {
      ring_->start(block, id);
      under_way.emplace(id++, std::move(block));
    }
    ring_->submit_and_wait();
    uint64_t done = 0;
    for (int result = 0; ring_->next(done, result);) {
      // A short count or an error is tried again by a blocking call, which says what is wrong.
      queue.complete(under_way.at(done), result > 0 ? static_cast<size_t>(result) : 0);
      under_way.erase(done);
    }
  }
}

}  // namespace hydrofoil::io
