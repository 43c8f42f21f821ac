// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/state_store.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace hydrofoil::zero {

using memory::Category;
using memory::FileTier;
using memory::Range;
using memory::Values;

StateStore::StateStore(const std::optional<StateFiles>& files, memory::Ledger& ledger)
    : ledger_(ledger), chunk_(files ? files->chunk_elements : 0) {
  if (chunk_ % memory::kSliceGranule != 0)
    throw std::logic_error("StateStore: pieces of " + std::to_string(chunk_) + " elements");
  if (files) tier_ = std::make_unique<FileTier>(files->tier, ledger, Category::kOptimizer);
}

StateStore::~StateStore() {
  for (const auto& kept : kept_)
    for (const auto& array : kept.memory) ledger_.remove(Category::kOptimizer, array.size());
}

StateStore::Id StateStore::add(size_t count, std::vector<DType> arrays, bool in_file) {
  Kept kept{.count = count, .arrays = std::move(arrays), .memory = {}, .pieces = {}};
  for (size_t begin = 0; in_file && begin < count; begin += chunk_) {
    std::vector<size_t> part_bytes;
    for (const DType dtype : kept.arrays)
      part_bytes.push_back(std::min(chunk_, count - begin) * size_of(dtype));
    kept.pieces.push_back(tier_->add(part_bytes));
  }
  for (size_t a = 0; !in_file && a < kept.arrays.size(); ++a) {
    kept.memory.emplace_back(count * size_of(kept.arrays[a]), std::byte{0});
    ledger_.add(Category::kOptimizer, kept.memory.back().size());
  }
  kept_.push_back(std::move(kept));
  return kept_.size() - 1;
}

void StateStore::visit(std::span<const Id> ids, Use use, const Visitor& visitor) {
  for (size_t i = 0; i < ids.size();) {
    size_t end = i;
    while (end < ids.size() && !kept_[ids[end]].pieces.empty()) ++end;
    if (end > i) {
      visit_files(ids.subspan(i, end - i), use, visitor);
      i = end;
    } else {
      visit_memory(ids[i++], visitor);
    }
  }
}

void StateStore::visit_memory(Id id, const Visitor& visitor) {
  std::vector<Values> arrays;
  for (size_t a = 0; a < kept_[id].arrays.size(); ++a) arrays.push_back(in_memory(id, a));
  visitor({.id = id, .range = {0, kept_[id].count}, .arrays = arrays});
}

void StateStore::visit_files(std::span<const Id> ids, Use use, const Visitor& visitor) {
  std::vector<FileTier::Piece> pieces;
  std::vector<std::pair<Id, size_t>> places;  // by piece: whose it is, its first element
  for (const Id id : ids)
    for (size_t p = 0; p < kept_[id].pieces.size(); ++p) {
      pieces.push_back(kept_[id].pieces[p]);
      places.emplace_back(id, p * chunk_);
    }
  tier_->visit(pieces, use, [&](size_t index, std::span<const FileTier::Part> parts) {
    const auto [id, begin] = places[index];
    const size_t count = std::min(chunk_, kept_[id].count - begin);
    std::vector<Values> arrays;
    for (size_t a = 0; a < parts.size(); ++a)
      arrays.push_back({parts[a].data(), count, kept_[id].arrays[a]});
    visitor({.id = id, .range = {begin, begin + count}, .arrays = arrays});
  });
}

Values StateStore::in_memory(Id id, size_t array) {
  Kept& kept = kept_[id];
  if (kept.memory.empty()) return {};
  return {kept.memory[array].data(), kept.count, kept.arrays[array]};
}

void StateStore::read(Id id, size_t array, size_t begin, std::span<std::byte> out) {
  const Kept& kept = kept_[id];
  const size_t width = size_of(kept.arrays[array]);
  if (kept.pieces.empty())
    return static_cast<void>(
        std::memcpy(out.data(), kept.memory[array].data() + begin * width, out.size()));
  while (!out.empty()) {
    const size_t at = begin % chunk_;
    const size_t bytes = std::min(out.size(), (chunk_ - at) * width);
    tier_->read(kept.pieces[begin / chunk_], array, at * width, out.first(bytes));
    out = out.subspan(bytes);
    begin += bytes / width;
  }
}

}  // namespace hydrofoil::zero
