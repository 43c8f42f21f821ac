// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/zero/state_store.h"

#include <utility>

namespace hydrofoil::zero {

using memory::Category;
using memory::Column;
using memory::ColumnWalk;

StateStore::StateStore(const std::optional<StateFiles>& files, memory::Ledger& ledger)
    : ledger_(ledger),
      tier_(files ? std::make_unique<memory::FileTier>(files->tier, ledger, Category::kOptimizer)
                  : nullptr),
      walk_(files ? files->tier.buffers : memory::FileTierOptions{}.buffers, ledger,
            Category::kOptimizer) {}

StateStore::Id StateStore::add(size_t count, const std::vector<DType>& arrays, bool in_file) {
  std::vector<Column> columns;
  for (const DType dtype : arrays)
    columns.push_back(in_file ? Column::in_file(count, dtype, *tier_)
                              : Column::in_memory(count, dtype, ledger_, Category::kOptimizer));
  kept_.push_back(std::move(columns));
  return kept_.size() - 1;
}

void StateStore::move(Id id, size_t array, memory::FileTier* file) {
  Column& column = kept_[id][array];
  if (column.tier() == file || (tier_ && column.tier() == tier_.get())) return;
  Column moved =
      file ? Column::in_file(column.count(), column.dtype(), *file)
           : Column::in_memory(column.count(), column.dtype(), ledger_, Category::kOptimizer);
  walk_.copy(column, moved);
  walk_.let_go();
  column = std::move(moved);
}

void StateStore::visit(std::span<const Id> ids, Use use, const Visitor& visitor) {
  std::vector<ColumnWalk::Table> tables(ids.size());
  for (size_t i = 0; i < ids.size(); ++i)
    for (const Column& column : kept_[ids[i]]) tables[i].push_back({&column, use});
  visit(tables,
        [&](const ColumnWalk::Chunk& chunk) {
          visitor({.id = ids[chunk.table], .range = chunk.range, .arrays = chunk.columns});
        },
        {});
}

void StateStore::visit(std::span<const ColumnWalk::Table> tables,
                       const ColumnWalk::Visitor& visitor,
                       const std::function<void(size_t table)>& settled) {
  walk_.visit(tables, visitor, settled);
  walk_.let_go();
}

}  // namespace hydrofoil::zero
