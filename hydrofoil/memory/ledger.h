// SPDX-License-Identifier: Apache-2.0
// Who holds how many bytes: every large allocation of a rank is entered under a category.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hydrofoil::memory {

enum class Category : uint8_t {
  kParameters,   // own slices and resident copies
  kGradients,    // accumulators and unit buffers on their way to the reduction
  kOptimizer,    // moments
  kActivations,  // buffers of those that wait in files
};
constexpr size_t kCategories = 4;
std::string_view name_of(Category category);

// Thread-safe.
class Ledger {
 public:
  void add(Category category, size_t bytes);
  void remove(Category category, size_t bytes);
  size_t bytes(Category category) const { return now_[index(category)].load(); }
  size_t peak_bytes(Category category) const { return peak_[index(category)].load(); }
  // Highest sum over all categories at one time.
  size_t peak_bytes() const { return total_peak_.load(); }
  // Peaks start again from what is held now.
  void reset_peaks();

 private:
  static size_t index(Category category) { return static_cast<size_t>(category); }
  std::array<std::atomic<size_t>, kCategories> now_{}, peak_{};
  std::atomic<size_t> total_{0}, total_peak_{0};
};

}  // namespace hydrofoil::memory
