// SPDX-License-Identifier: Apache-2.0
// Oracle: what libtorch's allocator reports while a model of every family runs forward and
// backward, against the planner's formula.
#include <ATen/Parallel.h>
#include <ATen/ops/randint.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "hydrofoil/models/decoder.h"
#include "hydrofoil/models/product.h"
#include "hydrofoil/models/recompute.h"
#include "hydrofoil/plan/activations.h"
#include "hydrofoil/spec/model_spec.h"

namespace hydrofoil::models::activation_test {
namespace {

// Highest running sum of this thread's allocations.
class Meter : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
    now_ += size;
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak_bytes() const { return peak_; }

 private:
  int64_t now_ = 0, peak_ = 0;
};

constexpr int64_t kBatch = 2, kLength = 96;

spec::ModelSpec small(const std::string& family) {
  const bool window = family == "mistral" || family == "qwen3" || family == "gemma2";
  return spec::model_spec_from_hf(
      R"({"model_type":")" + family + R"(","vocab_size":257,"max_position_embeddings":128,
      "n_positions":128,"hidden_size":96,"num_hidden_layers":4,"num_attention_heads":6,
      "num_key_value_heads":2,"head_dim":16,"intermediate_size":200,"ffn_dim":200,"rotary_dim":8,
      "word_embed_proj_dim":80)" +
          (window ? R"(,"use_sliding_window":true,"max_window_layers":2,"sliding_window":25})"
                  : "}"),
      "test");
}

LossSum loss_of(const Decoder& model, const Batch& batch, bool recomputed) {
  at::Tensor x = batch.tokens;
  for (int block = 0; block < model.blocks() - 1; ++block) {
    const auto run = [&model, &batch, block](const at::Tensor& input) {
      return model.forward(block, input, batch);
    };
    x = recomputed && block > 0 ? recompute(run, x) : run(x);
  }
  return model.loss(x, batch);
}

int64_t measured_bytes(const Decoder& model, const Batch& batch, bool recomputed = false) {
  loss_of(model, batch, recomputed).sum.backward();  // gradients and tables have their memory now
  const auto meter = std::make_shared<Meter>();
  c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
  loss_of(model, batch, recomputed).sum.backward();
  return meter->peak_bytes();
}

TEST(Activations, OfEveryFamilyAreWhatTheAllocatorSees) {
  for (const auto& family : spec::known_families()) {
    const auto spec = small(family);
    if (!spec.causal) continue;
    Decoder model(spec);
    initialize(model, 1);
    const auto random = [&] {
      return at::randint(spec.vocab_size, {kBatch, kLength}, at::TensorOptions().dtype(at::kLong));
    };
    const auto measured = static_cast<double>(measured_bytes(model, {random(), random()}));
    // The bias of ALiBi was made by the first pass.
    const double tables = spec.positions == spec::Positions::kAlibi
                              ? 4.0 * static_cast<double>(spec.heads * kLength * kLength)
                              : 0.0;
    const double planned = static_cast<double>(plan::activation_bytes(
                               spec, {.micro_batch = kBatch, .sequence_length = kLength})) -
                           tables;
    // In models as small as this, what operators need for a moment weighs a few per cent.
    EXPECT_NEAR(planned, measured, 0.1 * measured) << family << " " << planned / measured;
  }
}

struct Case {
  const char* name;
  std::string config;
  int64_t micro_batch, length, mlp_rows = 0;
};

std::string gpt2(int64_t hidden, int64_t layers, int64_t vocabulary, int64_t positions, bool tied) {
  return R"({"model_type":"gpt2","n_embd":)" + std::to_string(hidden) + R"(,"n_layer":)" +
         std::to_string(layers) + R"(,"n_head":4,"vocab_size":)" + std::to_string(vocabulary) +
         R"(,"n_positions":)" + std::to_string(positions) + R"(,"tie_word_embeddings":)" +
         (tied ? "true}" : "false}");
}
std::string llama(int64_t hidden, int64_t layers, int64_t heads, int64_t kv_heads, int64_t inner,
                  int64_t vocabulary, bool tied) {
  return R"({"model_type":"llama","hidden_size":)" + std::to_string(hidden) +
         R"(,"num_hidden_layers":)" + std::to_string(layers) + R"(,"num_attention_heads":)" +
         std::to_string(heads) + R"(,"num_key_value_heads":)" + std::to_string(kv_heads) +
         R"(,"intermediate_size":)" + std::to_string(inner) + R"(,"vocab_size":)" +
         std::to_string(vocabulary) + R"(,"max_position_embeddings":256,"tie_word_embeddings":)" +
         (tied ? "true}" : "false}");
}

// The peak lies at the loss in some, in backward or at the embedding in others. MKL's products:
// oneDNN's copy what they take.
TEST(Activations, PeakWhereTheFormulaSays) {
  const Case cases[] = {
      {"gpt2 256", gpt2(256, 4, 1000, 128, true), 2, 128},
      {"llama 256", llama(256, 4, 8, 2, 704, 1000, true), 2, 128},
      {"gpt2 of a large vocabulary", gpt2(128, 2, 50257, 64, true), 1, 64},
      {"llama of a large vocabulary", llama(96, 3, 3, 1, 256, 20000, true), 4, 256},
      {"gpt2 768", gpt2(768, 4, 50257, 256, true), 2, 256},
      {"untied gpt2 of a large vocabulary", gpt2(128, 2, 50257, 64, false), 1, 64},
      {"untied llama", llama(256, 4, 8, 2, 704, 1000, false), 2, 128},
      {"untied gpt2", gpt2(256, 4, 1000, 128, false), 2, 128},
      {"gpt2 in chunks", gpt2(256, 4, 1000, 256, true), 4, 256, 100},
  };
  force_onednn(false);
  for (const auto& c : cases)
    for (const bool recompute : {false, true}) {
      const auto spec = spec::model_spec_from_hf(c.config, "test");
      Decoder model(spec, with_memory, {.mlp_rows = c.mlp_rows});
      initialize(model, 1);
      const auto random = [&] {
        return at::randint(spec.vocab_size, {c.micro_batch, c.length},
                           at::TensorOptions().dtype(at::kLong));
      };
      const auto measured =
          static_cast<double>(measured_bytes(model, {random(), random()}, recompute));
      const auto planned =
          static_cast<double>(plan::activation_bytes(spec, {.micro_batch = c.micro_batch,
                                                            .sequence_length = c.length,
                                                            .recompute = recompute,
                                                            .mlp_rows = c.mlp_rows}));
      EXPECT_NEAR(planned, measured, 0.001 * measured)
          << c.name << (recompute ? " recomputed " : " ") << planned / measured;
    }
  force_onednn(std::nullopt);
}

}  // namespace
}  // namespace hydrofoil::models::activation_test
