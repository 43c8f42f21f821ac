// SPDX-License-Identifier: Apache-2.0
// Runs a packed decoder on the CPU: one ragged batch a step, over a paged cache, without libtorch.
//
//   Team team(2);
//   Runner runner(model, cache, team, /*most_tokens=*/512);
//   runner.run({{{.tokens = prompt, .position = 0, .pages = pages, .logits = Logits::kLast}}});
//   runner.logits(0);                                     // [vocab_size] after the prompt
//
// An encoder's sequence is one part, from position 0 on: every token sees all of it.
//
// What a token gets depends on its own sequence only: not on how a prompt is cut into steps, on the
// other sequences of a step, or on the number of threads. A step allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "hydrofoil/inference/kv_cache.h"
#include "hydrofoil/inference/packed_model.h"
#include "hydrofoil/inference/rotary.h"
#include "hydrofoil/inference/team.h"

namespace hydrofoil::inference {

enum class Logits : uint8_t { kNone, kLast, kAll };

// A sequence's part of a step: tokens at [position, position + tokens.size()), for which its pages
// must have room, after all earlier ones have been run.
struct SequencePart {
  std::span<const int32_t> tokens;
  int64_t position = 0;
  std::span<const Page> pages;
  Logits logits = Logits::kLast;
};

struct Buffers;  // inference/step.h

class Runner {
 public:
  // Keeps references. most_tokens: of a step.
  Runner(const PackedModel& model, KvCache& cache, Team& team, size_t most_tokens);
  ~Runner();

  size_t most_tokens() const { return most_tokens_; }
  // The longest sequence; beyond it positions have no meaning to the model.
  static int64_t position_limit(const spec::ModelSpec& spec);
  // Error(kData) for tokens outside the vocabulary or positions beyond the limit. What streamed
  // weights fail with is the end of the runner, too.
  void run(std::span<const SequencePart> parts);
  // Of the i-th row that the parts of the last step asked for, in their order, [vocab_size].
  std::span<const float> logits(size_t row) const;
  size_t logit_rows() const;
  // Of the i-th token of the last step, after all layers, [hidden_size].
  std::span<const float> hidden(size_t token) const;

  // Beside weights and cache: buffers of a step, logits, tables of positions. They grow with the
  // rows of logits that steps have wanted and with the positions they have reached.
  size_t scratch_bytes() const;
  // The same before there is a runner, of an outline, too; of ALiBi's biases at most.
  struct Scratch {
    size_t tokens = 1, rows = 1, threads = 1;
    int64_t positions = 1;
  };
  static size_t scratch_bytes_of(const PackedModel& model, const Scratch& scratch);

 private:
  void check(std::span<const SequencePart> parts) const;
  void plan(std::span<const SequencePart> parts);
  void share_keys();

  const PackedModel& model_;
  KvCache& cache_;
  Team& team_;
  const size_t most_tokens_;
  std::unique_ptr<Buffers> buffers_;
};

}  // namespace hydrofoil::inference
