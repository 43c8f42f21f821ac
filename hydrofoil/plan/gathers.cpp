// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/plan/gathers.h"

#include <algorithm>
#include <limits>

namespace hydrofoil::plan {
namespace {

constexpr size_t kNeverUsed = std::numeric_limits<size_t>::max();

class Cache {
 public:
  Cache(std::span<const uint64_t> bytes, std::span<const size_t> uses, uint64_t budget)
      : bytes_(bytes), budget_(budget), resident_(bytes.size()), last_use_(bytes.size()) {
    // next_[i][u]: position of the first use of u behind position i of a pass.
    next_.assign(uses.size() + 1, std::vector<size_t>(bytes.size(), kNeverUsed));
    for (size_t i = uses.size(); i-- > 0;) {
      next_[i] = next_[i + 1];
      next_[i][uses[i]] = i;
    }
    result_.counts.resize(bytes.size());
  }

  void use(size_t unit, size_t position) {
    last_use_[unit] = ++clock_;
    if (resident_[unit]) return;
    while (live_ + bytes_[unit] > budget_ && evict(next_[position + 1])) {
    }
    resident_[unit] = true;
    live_ += bytes_[unit];
    ++result_.counts[unit];
    result_.peak_bytes = std::max(result_.peak_bytes, live_);
  }
  const Gathers& result() const { return result_; }
  const std::vector<bool>& resident() const { return resident_; }

 private:
  bool evict(const std::vector<size_t>& next) {
    size_t victim = kNeverUsed;
    for (size_t u = 0; u < bytes_.size(); ++u) {
      if (!resident_[u]) continue;
      if (victim == kNeverUsed || next[u] > next[victim] ||
          (next[u] == next[victim] && last_use_[u] < last_use_[victim]))
        victim = u;
    }
    if (victim == kNeverUsed) return false;
    resident_[victim] = false;
    live_ -= bytes_[victim];
    return true;
  }

  std::span<const uint64_t> bytes_;
  const uint64_t budget_;
  std::vector<bool> resident_;
  std::vector<uint64_t> last_use_;
  std::vector<std::vector<size_t>> next_;
  uint64_t live_ = 0, clock_ = 0;
  Gathers result_;
};

}  // namespace

// Each pass uses all units, so what a pass begins with is fully described by what is gathered: once
// that repeats, so do the passes.
Gathers simulate_gathers(std::span<const uint64_t> unit_bytes, std::span<const size_t> uses,
                         int64_t micro_batches, uint64_t budget_bytes) {
  Cache cache(unit_bytes, uses, budget_bytes);
  for (int64_t micro = 0; micro < micro_batches; ++micro) {
    const auto resident = cache.resident();
    const auto counts = cache.result().counts;
    for (size_t i = 0; i < uses.size(); ++i) cache.use(uses[i], i);
    if (cache.resident() != resident) continue;
    Gathers result = cache.result();
    for (size_t u = 0; u < counts.size(); ++u)
      result.counts[u] += (result.counts[u] - counts[u]) * (micro_batches - micro - 1);
    return result;
  }
  return cache.result();
}

}  // namespace hydrofoil::plan
