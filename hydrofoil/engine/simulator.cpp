// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/simulator.h"

namespace hydrofoil::engine {

void Simulator::add(size_t number, const LoadRequest& request) {
  Text& text = texts_[number];
  text = {.sequence = {.id = number, .tokens = request.prompt, .priority = request.priority},
          .end = request.prompt.size() + static_cast<size_t>(request.tokens)};
  scheduler_.add(&text.sequence);
}

// What is generated does not matter to the policy, but that it differs between texts.
std::vector<size_t> Simulator::step() {
  size_t total = 0;
  std::vector<size_t> told;
  ran_.clear();
  for (const auto& [planned, tokens] : scheduler_.plan()) {
    Sequence& sequence = *planned;
    ran_.push_back({sequence.id, tokens});
    total += tokens;
    if (sequence.left() > 0) continue;
    sequence.tokens.push_back(-1 - static_cast<int32_t>(sequence.id));
    told.push_back(sequence.id);
    if (sequence.tokens.size() == texts_.at(sequence.id).end) cancel(sequence.id);
  }
  now_ += cost_.seconds(static_cast<double>(total));
  return told;
}

void Simulator::cancel(size_t number) {
  const auto found = texts_.find(number);
  if (found == texts_.end()) return;
  scheduler_.remove(&found->second.sequence);
  texts_.erase(found);
}

void Simulator::check() const {
  std::vector<const PageTable*> tables;
  for (const auto& [number, text] : texts_) tables.push_back(&text.sequence.table);
  pool_.check(tables);
}

}  // namespace hydrofoil::engine
