// SPDX-License-Identifier: Apache-2.0
// The engine against Hugging Face models trained by PyTorch's AdamW (tests/models/make_golden.py):
// 50 steps from equal weights on equal data, clipping at 1.0.
#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "hydrofoil/train/model.h"
#include "tests/support/golden.h"
#include "tests/support/ranks.h"

namespace hydrofoil::train {
namespace {

constexpr int64_t kBatches = 5, kRows = 3, kTime = 17;

// Rows [first, first + rows) of batch `index`.
models::Batch rows_of(const std::vector<int64_t>& tokens, const std::vector<int64_t>& labels,
                      int64_t index, int64_t first, int64_t rows) {
  const auto cut = [&](const std::vector<int64_t>& all) {
    auto* from = const_cast<int64_t*>(all.data()) + (index * kRows + first) * kTime;
    return at::from_blob(from, {rows, kTime}, at::kLong).clone();
  };
  return {cut(tokens), cut(labels)};
}

struct Case {
  const char* model;
  int ranks, stage;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.model << " stage " << c.stage << " on " << c.ranks;
}

class Parity : public testing::TestWithParam<Case> {};

TEST_P(Parity, FiftyStepsFollowPyTorch) {
  const auto [name, ranks, stage] = GetParam();
  const std::string folder = std::string(HYDROFOIL_GOLDEN_DIR) + "/" + name;
  const auto weights = test::read_golden(folder + "/model.safetensors");
  const auto run = test::read_golden(folder + "/run.safetensors");
  const auto tokens = run.at("tokens").values<int64_t>(),
             labels = run.at("labels").values<int64_t>();
  const auto losses = run.at("losses").values<double>(), norms = run.at("norms").values<double>();
  const auto spec = spec::model_spec_from_hf(test::read_text(folder + "/config.json"), folder);
  test::run_ranks(ranks, [&, stage = stage](const comm::Communicator& group) {
    at::set_num_threads(1);
    Model model =
        make_model(group, spec, {.stage = stage, .groups = {{.lr = 1e-3, .weight_decay = 0.1}}});
    model.engine->fill_parameters(
        [&](const std::string& parameter, size_t begin, std::span<float> out) {
          std::memcpy(out.data(), weights.at(parameter).bytes.data() + begin * sizeof(float),
                      out.size_bytes());
        });
    const int64_t rows = kRows / group.size();
    for (size_t step = 0; step < losses.size(); ++step) {
      const auto batch =
          rows_of(tokens, labels, static_cast<int64_t>(step) % kBatches, group.rank() * rows, rows);
      const auto loss = batch_loss(*model.program, batch, /*recompute=*/false);
      model.engine->backward(loss.sum, loss.weight);
      const auto result = model.engine->step();
      ASSERT_NEAR(result.loss, losses[step], 1e-5 * losses[step]) << "step " << step;
      ASSERT_NEAR(result.gradient_norm, norms[step], 1e-4 * norms[step]) << "step " << step;
    }
    group.barrier();
  });
}

INSTANTIATE_TEST_SUITE_P(All, Parity,
                         testing::Values(Case{"gpt2", 1, 0}, Case{"llama", 1, 0},
                                         Case{"gpt2", 3, 3}, Case{"llama", 3, 1},
                                         Case{"llama", 3, 3}));

}  // namespace
}  // namespace hydrofoil::train
