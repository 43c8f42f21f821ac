// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/engine/engine.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

namespace hydrofoil::engine {
namespace {

using inference::Runner;

constexpr size_t kMostStepTokens = 512;  // where the machine decides

int64_t positions_of(const inference::PackedModel& model, size_t pages) {
  return std::min(Runner::position_limit(model.spec), static_cast<int64_t>(pages * kPageTokens));
}

}  // namespace

size_t most_step_tokens(const EngineOptions& options) {
  return std::max(options.step_tokens > 0 ? options.step_tokens : kMostStepTokens,
                  options.sequences);
}

EngineBytes engine_bytes(const inference::PackedModel& model, int threads,
                         const EngineOptions& options, int64_t positions) {
  return {.cache = options.cache_pages * inference::KvCache::page_bytes(model.spec, options.cache),
          .scratch = Runner::scratch_bytes_of(model, {.tokens = most_step_tokens(options),
                                                      .rows = options.sequences,
                                                      .threads = static_cast<size_t>(threads),
                                                      .positions = positions}),
          .pages = PagePool::bytes_of(options.cache_pages)};
}

Engine::Engine(const inference::PackedModel& model, inference::Team& team,
               const EngineOptions& options, const text::Tokenizer* tokenizer)
    : limits_{.vocabulary = model.spec.vocab_size,
              .positions = positions_of(model, options.cache_pages)},
      tokenizer_(tokenizer),
      team_(team),
      cache_(model.spec, options.cache, options.cache_pages),
      pool_(options.cache_pages),
      step_tokens_(options.step_tokens) {
  const size_t most = most_step_tokens(options);
  runner_ = std::make_unique<Runner>(model, cache_, team, most);
  // A step that streams weights costs its reads before it costs its tokens.
  if (step_tokens_ == 0)
    step_tokens_ = model.residency.streamed > 0 ? most : measure_steps(most).best_step();
  step_tokens_ = std::max(step_tokens_, options.sequences);
  scheduler_ = std::make_unique<Scheduler>(
      SchedulerOptions{
          .step_tokens = step_tokens_, .sequences = options.sequences, .policy = options.policy},
      pool_);
}

Engine::~Engine() = default;

// On pages that nobody holds yet.
CostCurve Engine::measure_steps(size_t most) {
  std::vector<Page> pages(pool_.size());
  std::iota(pages.begin(), pages.end(), 0);
  const auto seconds_of = [&](size_t tokens) {
    const std::vector<int32_t> text(tokens, 0);
    const inference::SequencePart part{.tokens = text, .pages = pages};
    const auto start = std::chrono::steady_clock::now();
    runner_->run({&part, 1});
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  return CostCurve::measure(seconds_of, std::min(most, static_cast<size_t>(limits_.positions)));
}

uint64_t Engine::add(Request request) {
  check(request, limits_);
  const auto shared = std::make_shared<const Request>(std::move(request));
  const uint64_t id = ++ids_;
  for (int index = 0; index < shared->samples; ++index) {
    const uint64_t sequence = index == 0 ? id : ++ids_;
    const Sample::Ids ids{.request = id, .sequence = sequence, .index = index};
    const auto entry =
        samples_.try_emplace(sequence, ids, shared, limits_.positions, tokenizer_).first;
    scheduler_->add(&entry->second.sequence());
  }
  return id;
}

void Engine::cancel(uint64_t request) {
  for (auto entry = samples_.lower_bound(request); entry != samples_.end();) {
    if (entry->second.request_id() != request) break;
    scheduler_->remove(&entry->second.sequence());
    entry = samples_.erase(entry);
  }
}

std::vector<Event> Engine::step() {
  const auto& work = scheduler_->plan();
  run(work);
  const auto ready = sort_rows(work);
  auto choices = choose(ready);
  std::vector<Event> events;
  for (size_t i = 0; i < ready.size(); ++i) {
    events.push_back(ready[i].sample->accept(std::move(choices[i])));
    if (!events.back().finish) continue;
    Sequence& sequence = ready[i].sample->sequence();
    scheduler_->remove(&sequence);
    samples_.erase(sequence.id);
  }
  return events;
}

void Engine::run(const std::vector<Work>& work) {
  std::vector<inference::SequencePart> parts;
  for (const auto& [sequence, tokens] : work) {
    const size_t begin = sequence->done - tokens;
    parts.push_back({.tokens = std::span(sequence->tokens).subspan(begin, tokens),
                     .position = static_cast<int64_t>(begin),
                     .pages = sequence->table.pages,
                     .logits = samples_.at(sequence->id).wanted(begin)});
  }
  runner_->run(parts);
}

std::vector<Engine::Ready> Engine::sort_rows(const std::vector<Work>& work) {
  std::vector<Ready> ready;
  size_t row = 0;
  for (const auto& [sequence, tokens] : work) {
    Sample& sample = samples_.at(sequence->id);
    const bool complete = sequence->left() == 0;
    if (sample.wanted(sequence->done - tokens) == inference::Logits::kAll)
      for (size_t i = 0; i + complete < tokens; ++i)
        sample.add_prompt_logits(sequence->done - tokens + i, runner_->logits(row++));
    if (complete) ready.push_back({&sample, row++});
  }
  return ready;
}

std::vector<Choice> Engine::choose(const std::vector<Ready>& ready) {
  std::vector<Choice> choices(ready.size());
  const auto share = [&](int me, int of) {
    for (auto i = static_cast<size_t>(me); i < ready.size(); i += static_cast<size_t>(of))
      choices[i] = ready[i].sample->choose(runner_->logits(ready[i].row));
  };
  if (ready.size() > 1)
    team_.run([&](int me) { share(me, team_.size()); });
  else
    share(0, 1);
  return choices;
}

}  // namespace hydrofoil::engine
