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
    admit();
    plan_whole_prompts();
    if (work_.empty()) plan_decodes();
  } else {
    plan_decodes();
    admit();
    plan_pieces();
  }
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

// The shortest ends first, but some of each step is the first in rank's.
void Scheduler::plan_pieces() {
  std::vector<Sequence*> prompts;
  for (Sequence* sequence : running_)
    if (sequence->left() > 0) prompts.push_back(sequence);
  if (prompts.empty()) return;
  const Sequence* first = prompts.front();
  size_t kept = std::min(first->left(), (budget_ + kShareOfFirst - 1) / kShareOfFirst);
  std::ranges::stable_sort(prompts, [](const Sequence* a, const Sequence* b) {
    return a->priority != b->priority ? a->priority > b->priority : a->left() < b->left();
  });
  for (Sequence* sequence : prompts) {
    if (sequence == first) kept = 0;
    if (budget_ > kept) take_piece(sequence, budget_ - kept);
  }
}

void Scheduler::plan_whole_prompts() {
  for (Sequence* sequence : running_) {
    if (sequence->left() <= 1) continue;
    if (budget_ == 0 || (sequence->left() > budget_ && !work_.empty())) return;
    take_piece(sequence, budget_);
  }
}

void Scheduler::admit() {
  while (running_.size() < options_.sequences) {
    Sequence* sequence = next_admitted();
    if (!sequence) return;
    waiting_.erase(sequence);
    sequence->done = sequence->table.known * kPageTokens;
    running_.insert(std::ranges::upper_bound(running_, sequence, ByRank()), sequence);
  }
}

// A page is left for each that runs, or the next steps would take back what this one gives.
Sequence* Scheduler::next_admitted() {
  int looked_at = 0;
  for (auto candidate = waiting_.begin(); candidate != waiting_.end() && looked_at < kLookAhead;
       ++candidate, ++looked_at) {
    Sequence* sequence = *candidate;
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

// Pages for the whole prompt were taken when it was admitted.
void Scheduler::take_piece(Sequence* sequence, size_t most) {
  if (sequence->share) {
    pool_.catch_up(sequence->table, sequence->tokens);
    sequence->done = std::max(sequence->done, sequence->table.known * kPageTokens);
  }
  take(sequence, std::min(sequence->left(), most));
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
