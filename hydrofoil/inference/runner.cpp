// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/inference/runner.h"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <string>

#include "hydrofoil/core/error.h"
#include "hydrofoil/inference/step.h"

namespace hydrofoil::inference {
Runner::Runner(const PackedModel& model, KvCache& cache, Team& team, size_t most_tokens)
    : model_(model),
      cache_(cache),
      team_(team),
      most_tokens_(most_tokens),
      buffers_(std::make_unique<Buffers>(model, team, most_tokens)) {}

Runner::~Runner() = default;

size_t Runner::scratch_bytes() const {
  const Buffers& b = *buffers_;
  return b.bytes() + b.rotary.bytes() + (b.windowed_rotary ? b.windowed_rotary->bytes() : 0) +
         b.key_bias.bytes();
}

size_t Runner::scratch_bytes_of(const PackedModel& model, const Scratch& scratch) {
  const auto& spec = model.spec;
  size_t tables = KeyBias::bytes_of(spec, index(scratch.positions));
  if (spec.positions == spec::Positions::kRotary)
    tables +=
        RotaryTable::bytes_of(spec, scratch.positions) * (spec.window_rope_theta != 0 ? 2 : 1);
  return Buffers::bytes_of(model, scratch.threads, scratch.tokens, scratch.rows) + tables;
}

// The dynamic kind of rotary positions is plain here, up to the trained length.
int64_t Runner::position_limit(const spec::ModelSpec& spec) {
  const bool dynamic = spec.rope_scaling.kind == spec::RopeKind::kDynamic;
  return dynamic ? spec.max_positions : spec.position_limit();
}

void Runner::check(std::span<const SequencePart> parts) const {
  size_t tokens = 0;
  for (const auto& part : parts) {
    tokens += part.tokens.size();
    const int64_t end = part.position + static_cast<int64_t>(part.tokens.size());
    if (end > position_limit(model_.spec))
      throw Error(ExitCode::kData, "a sequence of " + std::to_string(end) +
                                       " tokens is longer than the model's " +
                                       std::to_string(position_limit(model_.spec)) + " positions");
    if (!model_.spec.causal && (part.position != 0 || part.logits != Logits::kNone))
      throw std::logic_error("Runner: an encoder has whole sequences, and no logits");
    if (part.pages.size() < KvCache::pages_for(end))
      throw std::logic_error("Runner: a sequence has too few pages");
    for (const int32_t token : part.tokens)
      if (token < 0 || token >= model_.spec.vocab_size)
        throw Error(ExitCode::kData,
                    "token " + std::to_string(token) + " is outside the vocabulary of " +
                        std::to_string(model_.spec.vocab_size),
                    {}, "was it made with another tokenizer?");
  }
  if (tokens > most_tokens_) throw std::logic_error("Runner: more tokens than a step may have");
}

void Runner::plan(std::span<const SequencePart> parts) {
  Buffers& b = *buffers_;
  b.parts.assign(parts.begin(), parts.end());
  b.tokens.clear();
  b.items.clear();
  b.wanted.clear();
  int64_t end = 0;
  for (size_t p = 0; p < parts.size(); ++p) {
    const auto& part = parts[p];
    const size_t first = b.tokens.size(), count = part.tokens.size();
    for (size_t i = 0; i < count; ++i) {
      b.tokens.push_back({part.tokens[i], part.position + static_cast<int64_t>(i), p});
      if (part.logits == Logits::kAll || (part.logits == Logits::kLast && i + 1 == count))
        b.wanted.push_back(first + i);
    }
    for (size_t i = 0; i < count; i += kTokensOfAnItem)
      for (size_t head = 0; head < index(model_.spec.kv_heads); ++head)
        b.items.push_back({first + i, std::min(kTokensOfAnItem, count - i), head});
    end = std::max(end, part.position + static_cast<int64_t>(count));
  }
  b.key_parts = 1;
  if (b.tokens.size() == 1) share_keys();
  if (model_.spec.positions == spec::Positions::kRotary) {
    b.rotary.reserve(end);
    if (b.windowed_rotary) b.windowed_rotary->reserve(end);
  }
  b.key_bias.reserve(index(end));
  const size_t rows = b.wanted.size(), logits = rows * index(model_.spec.vocab_size);
  if (b.logits.size() < logits) {
    if (model_.project_out)
      b.projected = Rows(rows, b.columns.projected, b.columns.projected_bytes);
    b.logits.resize(logits);
  }
}

// A token that is alone has few heads for threads to share: they share chunks of its keys, too, as
// far as there are rows for their sums.
void Runner::share_keys() {
  Buffers& b = *buffers_;
  const size_t chunks = index(b.tokens.front().position) / kernels::kChunkKeys + 1;
  if (chunks > most_tokens_) return;
  b.key_parts = chunks;
  b.items.clear();
  for (size_t chunk = 0; chunk < chunks; ++chunk)
    for (size_t head = 0; head < index(model_.spec.kv_heads); ++head)
      b.items.push_back({0, 1, head, chunk, chunk + 1});
}

void Runner::run(std::span<const SequencePart> parts) {
  if (buffers_->failure) std::rethrow_exception(buffers_->failure);
  check(parts);
  plan(parts);
  if (buffers_->tokens.empty()) return;
  team_.run([this](int me) { run_step(model_, cache_, team_, *buffers_, me); });
  if (buffers_->failure) std::rethrow_exception(buffers_->failure);
}

size_t Runner::logit_rows() const {
  return buffers_->wanted.size();
}

std::span<const float> Runner::hidden(size_t token) const {
  const size_t width = index(model_.spec.hidden_size);
  return buffers_->x.span().subspan(token * width, width);
}

std::span<const float> Runner::logits(size_t row) const {
  const size_t vocabulary = index(model_.spec.vocab_size);
  return std::span(buffers_->logits).subspan(row * vocabulary, vocabulary);
}

}  // namespace hydrofoil::inference
