// SPDX-License-Identifier: Apache-2.0
// The training that suites repeat under different options and compare to the bit: a tiny GPT-2
// whose ranks together see micro-batches in one order, however they are divided.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "hydrofoil/memory/file_tier.h"
#include "hydrofoil/train/model.h"
#include "hydrofoil/train/samples.h"
#include "tests/support/ranks.h"
#include "tests/train/batches.h"

namespace hydrofoil::train {

inline spec::ModelSpec tiny_gpt2(int layers = 3, bool tied = true) {
  return spec::model_spec_from_hf(
      R"({"model_type":"gpt2","vocab_size":97,"n_embd":36,"n_head":3,"n_positions":24,"n_layer":)" +
          std::to_string(layers) + R"(,"tie_word_embeddings":)" + (tied ? "true}" : "false}"),
      "test");
}

// Fewer keys than heads; a norm on every head; an untied head.
inline spec::ModelSpec tiny_qwen3(int layers = 2) {
  return spec::model_spec_from_hf(
      R"({"model_type":"qwen3","vocab_size":97,"hidden_size":36,"intermediate_size":50,
          "num_attention_heads":4,"num_key_value_heads":2,"head_dim":6,"num_hidden_layers":)" +
          std::to_string(layers) + R"(,"max_position_embeddings":24,"tie_word_embeddings":false})",
      "test");
}

// Pieces so small that tiny models have several.
inline memory::FileTierOptions small_files(
    size_t chunk_elements = 4096, const std::filesystem::path& folder = testing::TempDir()) {
  return {.folder = folder,
          .io = {.block_bytes = 4096, .queue_depth = 2},
          .buffers = 3,
          .chunk_elements = chunk_elements};
}

// Batches of so many sequences each, and five rows to judge by.
class MadeSamples final : public Samples {
 public:
  models::Batch shuffled(uint64_t, int64_t first, int64_t count) const override {
    return batch_at(first / count, count);
  }
  int64_t rows() const override { return 5; }
  models::Batch in_order(int64_t first, int64_t count) const override {
    return batch_at(100 + first, std::min<int64_t>(count, 1));
  }
};

// A case's name, of how it prints.
template <class Case>
std::string case_name(const testing::TestParamInfo<Case>& info) {
  std::string name = testing::PrintToString(info.param);
  std::ranges::replace(name, ' ', '_');
  return name;
}

// All micro-batches of a step, two sequences each.
inline StepResult train_step(Model& model, int64_t step, bool recompute = false) {
  const auto& group = model.engine->group();
  for (int64_t micro = step * model.engine->options().accumulation;; ++micro) {
    const auto loss =
        batch_loss(*model.program, batch_at(micro * group.size() + group.rank(), 2), recompute);
    model.engine->backward(loss.sum, loss.weight);
    if (const auto result = model.engine->step(); result.boundary) return result;
  }
}

// The losses of so many steps of the model that make(group) gives each rank.
template <class Make>
std::vector<double> losses_of(int ranks, int64_t steps, const Make& make, bool recompute = false) {
  std::vector<double> losses(static_cast<size_t>(steps));
  test::run_ranks(ranks, [&](const comm::Communicator& group) {
    Model model = make(group);
    for (int64_t step = 0; step < steps; ++step) {
      const double loss = train_step(model, step, recompute).loss;
      if (group.rank() == 0) losses[static_cast<size_t>(step)] = loss;
    }
    group.barrier();
  });
  return losses;
}

}  // namespace hydrofoil::train
