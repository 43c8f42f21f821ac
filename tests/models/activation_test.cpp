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

int64_t measured_bytes(const Decoder& model, const Batch& batch) {
  forward_loss(model, batch).sum.backward();  // gradients and tables have their memory now
  const auto meter = std::make_shared<Meter>();
  c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
  forward_loss(model, batch).sum.backward();
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

}  // namespace
}  // namespace hydrofoil::models::activation_test
