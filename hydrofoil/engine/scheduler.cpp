// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/scheduler.h"

#include <algorithm>
#include <stdexcept>

namespace hydrofoil::engine {

Scheduler::Scheduler(const SchedulerOptions& options, PagePool& pool)
    : options_(options), pool_(pool) {
  if (options.sequences == 0 || options.step_tokens < options.sequences)
    throw std::logic_error("Scheduler: a step needs a token for each sequence");
}

void Scheduler::add(Sequence* sequence) {
  sequence->rank = static_cast<int64_t>(statistics_.steps) - sequence->priority * kPatience;
  waiting_.insert(sequence);
}

void Scheduler::remove(Sequence* sequence) {
  if (waiting_.erase(sequence) == 0) std::erase(running_, sequence);
  pool_.release(sequence->table);
}

const std::vector<Work>& Scheduler::plan() {
  ++statistics_.steps;
  work_.clear();
  budget_ = options_.step_tokens;
  if (options_.policy == Policy::kPrefillFirst) {
    plan_pieces();
    admit(true);
    if (!work_.empty()) return work_;
  }
  plan_decodes();
  plan_pieces();
  admit(false);
  return work_;
}

// Each needs a page at times. Taking it from the last in rank never hits one that has been planned:
// they are planned from the first on.
void Scheduler::plan_decodes() {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence* sequence = running_[i];
    if (sequence->left() != 1) continue;
    while (i < running_.size() && !pool_.grow(sequence->table, sequence->tokens.size()))
      preempt_last();
    if (i < running_.size()) take(sequence, 1);
  }
}

// Pages for a whole prompt were taken when it was admitted.
void Scheduler::plan_pieces() {
  for (Sequence* sequence : running_) {
    if (budget_ == 0) return;
    if (sequence->left() > 1) take(sequence, std::min(sequence->left(), budget_));
  }
}

void Scheduler::admit(bool whole) {
  while (budget_ > 0 && running_.size() < options_.sequences) {
    Sequence* sequence = next_admitted(whole);
    if (!sequence) return;
    waiting_.erase(sequence);
    sequence->done = sequence->table.known * kPageTokens;
    running_.insert(std::ranges::upper_bound(running_, sequence, ByRank()), sequence);
    take(sequence, std::min(sequence->left(), budget_));
  }
}

// A page is left for each that runs, or the next steps would take back what this one gives.
Sequence* Scheduler::next_admitted(bool whole) {
  int looked_at = 0;
  for (auto candidate = waiting_.begin(); candidate != waiting_.end() && looked_at < kLookAhead;
       ++candidate, ++looked_at) {
    Sequence* sequence = *candidate;
    if (whole && sequence->tokens.size() > budget_ && !work_.empty()) return nullptr;
    if (pool_.open(
            sequence->table, sequence->tokens,
            {.scope = sequence->scope, .reserve = running_.size(), .share = sequence->share})) {
      std::for_each(waiting_.begin(), candidate, [](Sequence* passed) { ++passed->passed; });
      return sequence;
    }
    if (sequence->passed == kMostPassed) return nullptr;
  }
  return nullptr;
}

void Scheduler::take(Sequence* sequence, size_t tokens) {
  sequence->done += tokens;
  budget_ -= tokens;
  statistics_.tokens += tokens;
  pool_.remember(sequence->table, std::span(sequence->tokens).first(sequence->done));
  work_.push_back({sequence, tokens});
}

void Scheduler::preempt_last() {
  Sequence* last = running_.back();
  running_.pop_back();
  pool_.release(last->table);
  last->done = 0;
  waiting_.insert(last);
  ++statistics_.preempted;
}

}  // namespace hydrofoil::engine
