// SPDX-License-Identifier: Apache-2.0
// Windows: each rank's part is one allocation, a header and the bytes. Nothing else is kept for a
// window, so that a model may have thousands.
#include <algorithm>
#include <cstring>
#include <utility>

#include "hydrofoil/comm/backend/shared/shared_backend.h"
#include "hydrofoil/kernels/reduce.h"

namespace hydrofoil::comm {
namespace {

struct alignas(64) Header {
  Counter published, retired;      // versions
  std::atomic<uint32_t> released;  // ranks that have let the window go
};

class SharedWindow final : public WindowPart {
 public:
  SharedWindow(std::shared_ptr<Fabric> fabric, int rank, std::vector<int> world_ranks,
               std::vector<std::byte*> parts, SharedBytes own)
      : fabric_(std::move(fabric)),
        rank_(rank),
        world_ranks_(std::move(world_ranks)),
        parts_(std::move(parts)),
        own_(std::move(own)) {}

  ~SharedWindow() override {
    for (size_t r = 0; r < parts_.size(); ++r)
      header(r).released.fetch_add(1, std::memory_order_acq_rel);
    fabric_->graveyard().bury(std::move(own_), &header(mine()).released,
                              static_cast<uint32_t>(parts_.size()));
    fabric_->graveyard().sweep();
  }

  std::byte* local() override { return data(mine()); }

  void read(Call& call, int rank, uint64_t version, size_t offset,
            std::span<std::byte> out) override {
    const auto r = static_cast<size_t>(rank);
    fabric_->wait_for(header(r).published, version, world_ranks_[r], call);
    if (!out.empty())
      kernels::copy_bytes(out.data(), data(r) + offset, out.size(), out.size() > kStreamFromBytes);
  }

  void publish(uint64_t version) override { header(mine()).published.raise(version); }
  void retire(uint64_t version) override { header(mine()).retired.raise(version); }

  void await_retired(Call& call, uint64_t version) override {
    for (size_t r = 0; r < parts_.size(); ++r)
      fabric_->wait_for(header(r).retired, version, world_ranks_[r], call);
  }

 private:
  size_t mine() const { return static_cast<size_t>(rank_); }
  Header& header(size_t rank) const { return *reinterpret_cast<Header*>(parts_[rank]); }
  std::byte* data(size_t rank) const { return parts_[rank] + sizeof(Header); }

  std::shared_ptr<Fabric> fabric_;
  int rank_;
  std::vector<int> world_ranks_;
  std::vector<std::byte*> parts_;
  SharedBytes own_;
};

}  // namespace

std::unique_ptr<WindowPart> SharedBackend::do_window(Call& call, size_t bytes) {
  const size_t total = sizeof(Header) + bytes;
  SharedBytes own = fabric_->alloc(total);
  std::vector<std::byte*> parts;
  for (const uint64_t token : exchange(call, fabric_->token_of(own.get(), total)))
    parts.push_back(fabric_->at(token));
  return std::make_unique<SharedWindow>(fabric_, rank(), members_.world_ranks, std::move(parts),
                                        std::move(own));
}

}  // namespace hydrofoil::comm
