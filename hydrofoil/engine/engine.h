// SPDX-License-Identifier: Apache-2.0
// Many requests at a time on one model: continuous batches over a paged cache.
//
//   Engine engine(model, team, {.cache_pages = 1000}, &tokenizer);
//   const uint64_t id = engine.add({.prompt = tokenizer.encode("Hello"), .max_tokens = 20});
//   while (engine.busy())
//     for (const Event& event : engine.step()) std::cout << event.text;
//
// The parts: Request and Sequence are data, Scheduler decides, PagePool has the memory,
// inference::Runner executes. What a request gets does not depend on the others, on how its prompt
// is cut, on preemption or on shared pages. Not for several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "hydrofoil/engine/cost_curve.h"
#include "hydrofoil/engine/page_pool.h"
#include "hydrofoil/engine/request.h"
#include "hydrofoil/engine/sample.h"
#include "hydrofoil/engine/scheduler.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/runner.h"
#include "hydrofoil/inference/team.h"
#include "hydrofoil/text/tokenizer.h"

namespace hydrofoil::engine {

struct EngineOptions {
  DType cache = DType::kBF16;  // of keys and values; kF32 or kI8, too
  size_t cache_pages = 0;      // of 16 positions; memory is taken as they are used
  size_t step_tokens = 0;  // of a step at most; 0: measured on this machine, or all where weights
                           // are streamed
  size_t sequences = 64;   // that run at a time
  Policy policy = Policy::kSplitFuse;
};

// Tokens of a step that an engine has room for.
size_t most_step_tokens(const EngineOptions& options);

// What an engine takes beside the weights, all pages and the longest step in use.
struct EngineBytes {
  size_t cache = 0;    // keys and values
  size_t scratch = 0;  // of a step, with tables of positions
  size_t pages = 0;    // who holds what of the cache
  size_t total() const { return cache + scratch + pages; }
};
// Model: an outline suffices. positions: of a text.
EngineBytes engine_bytes(const inference::PackedModel& model, int threads,
                         const EngineOptions& options, int64_t positions);

class Engine {
 public:
  // Keeps references. Without a tokenizer events have no text, and stop strings no meaning.
  Engine(const inference::PackedModel& model, inference::Team& team, const EngineOptions& options,
         const text::Tokenizer* tokenizer = nullptr);
  ~Engine();

  // Error(kData) for a request that cannot be answered; others are not touched by it.
  uint64_t add(Request request);
  // No events of it come any more. Does nothing once it has ended.
  void cancel(uint64_t request);
  bool busy() const { return !samples_.empty(); }
  // Runs one step. After an exception the engine is of no use any more.
  std::vector<Event> step();

  int64_t positions() const { return limits_.positions; }  // of a text at most
  size_t step_tokens() const { return step_tokens_; }
  const PoolStatistics& pool_statistics() const { return pool_.statistics(); }
  const SchedulerStatistics& scheduler_statistics() const { return scheduler_->statistics(); }

 private:
  // A text whose last token has been run, and the row of its logits.
  struct Ready {
    Sample* sample;
    size_t row;
  };
  CostCurve measure_steps(size_t most);
  void run(const std::vector<Work>& work);
  std::vector<Ready> sort_rows(const std::vector<Work>& work);
  std::vector<Choice> choose(const std::vector<Ready>& ready);

  const RequestLimits limits_;
  const text::Tokenizer* const tokenizer_;
  inference::Team& team_;
  inference::KvCache cache_;
  PagePool pool_;
  std::unique_ptr<inference::Runner> runner_;
  size_t step_tokens_;
  std::unique_ptr<Scheduler> scheduler_;
  std::map<uint64_t, Sample> samples_;  // by the sequence's id
  uint64_t ids_ = 0;
};

}  // namespace hydrofoil::engine
