// SPDX-License-Identifier: Apache-2.0
// Which tokens of which sequences the next step runs: a function of the sequences and the pages
// only, with no clock, no tensors and no chance.
//
//   Scheduler scheduler({.step_tokens = 256}, pool);
//   scheduler.add(&sequence);
//   for (const Work& work : scheduler.plan()) ...   // run these; then append what was generated
//   scheduler.remove(&sequence);
//
// Dynamic SplitFuse (Holmes et al. 2024): a step has a fixed number of tokens, so that it takes the
// same time whatever arrives. Sequences with one token left come first; the rest of the step is
// filled with pieces of prompts, those with the least left first; but the first in rank gets a
// quarter of it at least, so that a long one is not held up by short ones for ever. What another
// sequence has computed meanwhile is not computed again.
//
// Sequences are ranked by the step they arrived in; each level of priority counts as kPatience
// steps, so that a low one waits long but not for ever. When pages run out, the last in rank loses
// its own and is computed again later. One whose prompt finds no room may be passed, by the next
// kLookAhead and kMostPassed times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "hydrofoil/engine/page_pool.h"
#include "hydrofoil/engine/sequence.h"

namespace hydrofoil::engine {

enum class Policy : uint8_t {
  kSplitFuse,
  kPrefillFirst,  // whole prompts as soon as there is room, while others wait: to compare with
};

struct SchedulerOptions {
  size_t step_tokens = 256;  // at most; at least as many as sequences
  size_t sequences = 64;     // that run at a time
  Policy policy = Policy::kSplitFuse;
};

// Tokens [sequence->done - tokens, sequence->done) of a sequence.
struct Work {
  Sequence* sequence;
  size_t tokens;
};

struct SchedulerStatistics {
  uint64_t steps = 0, tokens = 0;  // planned; tokens computed again included
  uint64_t preempted = 0;
};

class Scheduler {
 public:
  static constexpr int64_t kPatience = 1000;  // steps
  static constexpr int kMostPassed = 32, kLookAhead = 8;
  static constexpr size_t kShareOfFirst = 4;  // one in so many tokens

  // Keeps a reference to the pool, which is its own from now on.
  Scheduler(const SchedulerOptions& options, PagePool& pool);

  // Keeps the pointer until the sequence is removed. All its tokens, those to come included, must
  // fit into the pool.
  void add(Sequence* sequence);
  // Of a running or a waiting sequence: gives its pages back.
  void remove(Sequence* sequence);

  // The next step; empty only where no sequence has tokens left. Whoever has none left afterwards
  // waits for one to be appended, or to be removed.
  const std::vector<Work>& plan();

  size_t running() const { return running_.size(); }
  size_t waiting() const { return waiting_.size(); }
  const SchedulerStatistics& statistics() const { return statistics_; }

 private:
  struct ByRank {
    bool operator()(const Sequence* a, const Sequence* b) const {
      return a->rank != b->rank ? a->rank < b->rank : a->id < b->id;
    }
  };
  void plan_decodes();
  void plan_pieces();
  void plan_whole_prompts();
  void admit();
  Sequence* next_admitted();
  void take_piece(Sequence* sequence, size_t most);
  void take(Sequence* sequence, size_t tokens);
  void preempt_last();

  const SchedulerOptions options_;
  PagePool& pool_;
  std::vector<Sequence*> running_;  // by rank
  std::set<Sequence*, ByRank> waiting_;
  std::vector<Work> work_;
  size_t budget_ = 0;  // tokens that the step being planned has left
  SchedulerStatistics statistics_;
};

}  // namespace hydrofoil::engine
