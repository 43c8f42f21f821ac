// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/memory/ledger.h"

namespace hydrofoil::memory {
namespace {

void raise_to(std::atomic<size_t>& peak, size_t value) {
  size_t seen = peak.load();
  while (seen < value && !peak.compare_exchange_weak(seen, value)) {
  }
}

}  // namespace

std::string_view name_of(Category category) {
  switch (category) {
    case Category::kParameters:
      return "parameters";
    case Category::kGradients:
      return "gradients";
    case Category::kOptimizer:
      return "optimizer";
    case Category::kActivations:
      return "activations";
  }
  return "?";
}

void Ledger::add(Category category, size_t bytes) {
  raise_to(peak_[index(category)], now_[index(category)] += bytes);
  raise_to(total_peak_, total_ += bytes);
}

void Ledger::remove(Category category, size_t bytes) {
  now_[index(category)] -= bytes;
  total_ -= bytes;
}

void Ledger::reset_peaks() {
  for (size_t i = 0; i < kCategories; ++i) peak_[i] = now_[i].load();
  total_peak_ = total_.load();
}

}  // namespace hydrofoil::memory
