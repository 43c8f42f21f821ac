// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/snapshot.h"

#include <algorithm>

namespace hydrofoil::checkpoint {
namespace {

constexpr size_t kFetchBytes = size_t{4} << 20;

}  // namespace

void Fragment::visit(const std::function<void(size_t, std::span<const std::byte>)>& visit) const {
  if (fetched_bytes == 0) return visit(0, bytes);
  std::vector<std::byte> part(std::min(kFetchBytes, fetched_bytes));
  for (size_t first = 0; first < fetched_bytes; first += part.size()) {
    const auto now = std::span(part).first(std::min(part.size(), fetched_bytes - first));
    fetch(first, now);
    visit(first, now);
  }
}

}  // namespace hydrofoil::checkpoint
